//! SELinux, with a policy that has just enough in it, enforced.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

use anyhow::{Context, Result, ensure};
use harness::sh;
use rustix::fs::XattrFlags;
use serde_json::{Value, json};
use vm::{Bundle, program};

const POLICY: &str = include_str!("../guest/policy.cil");
/// The version that the kernel of this Debian reads, and all later ones.
const VERSION: &str = "33";
const SELINUXFS: &str = "/sys/fs/selinux";

const PROCESS: &str = "system_u:system_r:container_t:s0:c1,c2";
const OTHER: &str = "system_u:system_r:container_t:s0:c3,c4";
const FILES: &str = "system_u:object_r:container_file_t:s0:c1,c2";
const SELF: &str = "cat /proc/self/attr/current";

/// Brings the policy into force, once.
fn enforce() -> Result<()> {
    static DONE: Mutex<bool> = Mutex::new(false);
    let mut done = DONE.lock().map_err(|_| anyhow::anyhow!("another test could not load the policy"))?;
    if *done {
        return Ok(());
    }
    if !Path::new(SELINUXFS).join("load").exists() {
        sh::run(Command::new("mount").args(["-t", "selinuxfs", "selinuxfs", SELINUXFS]))?;
    }
    let dir = tempfile::tempdir()?;
    fs::write(dir.path().join("policy.cil"), POLICY)?;
    let args = ["-c", VERSION, "-o", "policy", "-f", "/dev/null", "policy.cil"];
    sh::run(Command::new("secilc").args(args).current_dir(dir.path()))?;
    fs::write(Path::new(SELINUXFS).join("load"), fs::read(dir.path().join("policy"))?)
        .context("load the policy")?;
    fs::write(Path::new(SELINUXFS).join("enforce"), "1").context("enforce the policy")?;
    *done = true;
    Ok(())
}

/// A container with labels, and a file that its label may not write to.
fn labelled(script: &str) -> Result<Bundle> {
    enforce()?;
    let mut bundle = Bundle::new(&[], script)?;
    bundle.config["process"]["selinuxLabel"] = json!(PROCESS);
    bundle.config["linux"]["mountLabel"] = json!(FILES);
    let secret = bundle.write()?.join("rootfs/secret");
    fs::write(&secret, "old\n")?;
    label(&secret, "system_u:object_r:secret_t:s0")?;
    Ok(bundle)
}

fn label(path: &Path, label: &str) -> Result<()> {
    let set = rustix::fs::setxattr(path, "security.selinux", label.as_bytes(), XattrFlags::empty());
    set.with_context(|| format!("label {}", path.display()))
}

/// The label that the mounts of a list of mounts have in them, or none.
fn context<'a>(mountinfo: &'a str, point: &str) -> Option<&'a str> {
    let line = mountinfo.lines().find(|line| line.split(' ').nth(4) == Some(point))?;
    line.split("context=\"").nth(1)?.split('"').next()
}

#[test]
#[ignore = "cargo xtask vm-test runs it"]
fn a_label_confines_the_first_process() -> Result<()> {
    let script = "cat /proc/self/attr/current; echo; echo new >/secret; cat /secret; echo free >/dev/shm/x && cat /dev/shm/x";
    let mut bundle = labelled(script)?;
    for no_new_privileges in [false, true] {
        bundle.config["process"]["noNewPrivileges"] = json!(no_new_privileges);
        let said = bundle.run()?;
        ensure!(said.out.replace('\0', "") == format!("{PROCESS}\nold\nfree\n"), "{said:?}");
        ensure!(said.err.contains("can't create /secret: Permission denied"), "{said:?}");
    }
    // Who is in no container may write to it.
    fs::write(bundle.write()?.join("rootfs/secret"), "new\n")?;
    Ok(())
}

#[test]
#[ignore = "cargo xtask vm-test runs it"]
fn a_further_process_is_labelled_likewise_or_as_is_asked() -> Result<()> {
    let bundle = labelled("exec sleep 1000")?;
    bundle.start()?;
    let within = |args: &[&str]| -> Result<String> {
        let said = bundle.ok(&[&["exec"], args, &["ID", "sh", "-c", SELF]].concat())?;
        Ok(said.trim_end_matches('\0').to_owned())
    };
    ensure!(within(&[])? == PROCESS);
    ensure!(within(&["--process-label", OTHER])? == OTHER);
    let said = bundle.verb(&["exec", "ID", "sh", "-c", "echo new >/secret"])?;
    ensure!(said.code == 1 && said.err.contains("Permission denied"), "{said:?}");
    let state = bundle.state()?;
    ensure!(
        state["config"]["process_label"] == PROCESS && state["config"]["mount_label"] == FILES,
        "{state}"
    );
    Ok(())
}

#[test]
#[ignore = "cargo xtask vm-test runs it"]
fn new_file_systems_are_labelled() -> Result<()> {
    let mut bundle = labelled("cat /proc/self/mountinfo")?;
    let mounts = bundle.config["mounts"].as_array_mut().context("no mounts")?;
    mounts.push(
        json!({"destination": "/run", "type": "tmpfs", "source": "tmpfs", "options": ["ro", "tmpcopyup"]}),
    );
    bundle.config["linux"]["maskedPaths"] = json!(["/sys/firmware", "/proc/timer_list"]);
    let said = bundle.run()?.ok()?;
    for point in ["/dev", "/dev/pts", "/dev/shm", "/run", "/sys/fs/cgroup", "/sys/firmware"] {
        ensure!(context(&said, point) == Some(FILES), "{point}: {said}");
    }
    // These the policy labels.
    for point in ["/proc", "/sys", "/dev/mqueue"] {
        ensure!(said.contains(&format!(" {point} ")) && context(&said, point).is_none(), "{point}: {said}");
    }
    Ok(())
}

#[test]
#[ignore = "cargo xtask vm-test runs it"]
fn queues_and_keys_are_labelled() -> Result<()> {
    let mut bundle = labelled("exec sleep 1000")?;
    bundle.config["linux"]["maskedPaths"] = json!([]);
    bundle.start()?;
    let pid = &bundle.state()?["init_process_pid"];
    let mut found = [0; 256];
    let queues = format!("/proc/{pid}/root/dev/mqueue");
    let length = rustix::fs::getxattr(&queues, "security.selinux", &mut found)?;
    ensure!(String::from_utf8_lossy(&found[..length]).trim_end_matches('\0') == FILES);
    // The policy shows a container no keyring but its own.
    let keys = bundle.ok(&["exec", "ID", "cat", "/proc/keys"])?;
    ensure!(keys.contains(&format!("_ses.{}", bundle.id)), "{keys}");
    ensure!(fs::read_to_string("/proc/keys")?.lines().count() > keys.lines().count(), "{keys}");
    Ok(())
}

#[test]
#[ignore = "cargo xtask vm-test runs it"]
fn a_label_that_is_none_is_named() -> Result<()> {
    let mut bundle = labelled("exec sleep 1000")?;
    bundle.config["process"]["selinuxLabel"] = json!("nobody:nothing:nowhere");
    let said = bundle.run()?;
    ensure!(
        said.code == 1 && said.err.contains("key label: \\\"nobody:nothing:nowhere\\\": write "),
        "{said:?}"
    );
    bundle.config["process"]["selinuxLabel"] = json!(PROCESS);
    bundle.config["linux"]["mountLabel"] = json!("nothing:at:all");
    let said = bundle.run()?;
    ensure!(said.code == 1 && said.err.contains("context=nothing:at:all"), "{said:?}");
    bundle.config["linux"]["mountLabel"] = json!(FILES);
    bundle.start()?;
    let said = bundle.verb(&["exec", "--process-label", "no:such:label", "ID", "true"])?;
    ensure!(said.code != 0 && said.err.contains("no:such:label"), "{said:?}");
    Ok(())
}

#[test]
#[ignore = "cargo xtask vm-test runs it"]
fn the_features_say_so() -> Result<()> {
    let features: Value = serde_json::from_str(&sh::read(Command::new(program("runc-rs")).arg("features"))?)?;
    ensure!(features["linux"]["selinux"]["enabled"] == true, "{features}");
    Ok(())
}
