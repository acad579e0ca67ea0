//! AppArmor: Debian's kernel has it switched on.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use harness::sh;
use serde_json::{Value, json};
use vm::{Bundle, program};

/// Allows all but what its name says.
const PROFILES: &str = "
profile vm-no-writing flags=(attach_disconnected) {
  file,
  capability,
  signal,
  ptrace,
  unix,
  deny /kept/** w,
}
profile vm-no-reading flags=(attach_disconnected) {
  file,
  capability,
  signal,
  ptrace,
  unix,
  deny /kept/** r,
}
";
const SELF: &str = "cat /proc/self/attr/current";
const WRITE: &str =
    "cat /proc/self/attr/current; echo new >/kept/file; cat /kept/file; echo free >/free && cat /free";

/// A container that AppArmor confines, with a file that is not to be touched.
fn confined(script: &str) -> Result<Bundle> {
    let mut bundle = Bundle::new(&[], script)?;
    let dir = bundle.write()?;
    fs::write(dir.join("profiles"), PROFILES)?;
    // A profile that is there is replaced.
    sh::run(Command::new("apparmor_parser").args(["--replace", "--skip-cache"]).arg(dir.join("profiles")))?;
    let kept = dir.join("rootfs/kept");
    fs::create_dir(&kept)?;
    fs::write(kept.join("file"), "old\n")?;
    bundle.config["process"]["apparmorProfile"] = json!("vm-no-writing");
    Ok(bundle)
}

#[test]
#[ignore = "cargo xtask vm-test runs it"]
fn a_profile_confines_the_first_process() -> Result<()> {
    let bundle = confined(WRITE)?;
    let said = bundle.run()?;
    ensure!(said.out == "vm-no-writing (enforce)\nold\nfree\n", "{said:?}");
    ensure!(said.err.contains("can't create /kept/file: Permission denied"), "{said:?}");
    Ok(())
}

#[test]
#[ignore = "cargo xtask vm-test runs it"]
fn a_further_process_is_confined_likewise_or_as_is_asked() -> Result<()> {
    let bundle = confined("exec sleep 1000")?;
    bundle.start()?;
    let said = bundle.verb(&["exec", "ID", "sh", "-c", WRITE])?;
    ensure!(
        said.out == "vm-no-writing (enforce)\nold\nfree\n" && said.err.contains("Permission denied"),
        "{said:?}"
    );
    // Without its own word, a process file's is the container's.
    let process = json!({"args": ["/bin/sh", "-c", format!("exec /bin/{SELF}")], "cwd": "/", "user": {"uid": 0, "gid": 0}, "apparmorProfile": ""});
    let file = bundle.write()?.join("process.json");
    fs::write(&file, process.to_string())?;
    let within = bundle.ok(&["exec", "--process", &file.to_string_lossy(), "ID"])?;
    ensure!(within == "vm-no-writing (enforce)\n", "{within}");
    let said = bundle.verb(&["exec", "--apparmor", "vm-no-reading", "ID", "sh", "-c", WRITE])?;
    ensure!(said.out == "vm-no-reading (enforce)\nfree\n", "{said:?}");
    ensure!(said.err.contains("can't open '/kept/file': Permission denied"), "{said:?}");
    // Not root, and with no way to more rights.
    let plain = [
        "exec",
        "--user",
        "1000:1000",
        "--no-new-privs",
        "--apparmor",
        "vm-no-reading",
        "ID",
        "sh",
        "-c",
        SELF,
    ];
    let within = bundle.ok(&plain)?;
    ensure!(within == "vm-no-reading (enforce)\n", "{within}");
    ensure!(bundle.state()?["config"]["apparmor_profile"] == "vm-no-writing", "{}", bundle.state()?);
    Ok(())
}

#[test]
#[ignore = "cargo xtask vm-test runs it"]
fn a_profile_that_is_not_there_is_named() -> Result<()> {
    let mut bundle = confined("exec sleep 1000")?;
    // The log quotes what has quotes in it.
    let missing = |profile: &str| {
        format!(
            "apparmor failed to apply profile: \\\"{profile}\\\": write /proc/thread-self/attr/apparmor/exec: no such file or directory"
        )
    };
    bundle.config["process"]["apparmorProfile"] = json!("vm-nowhere");
    let said = bundle.run()?;
    ensure!(said.code == 1 && said.err.contains(&missing("vm-nowhere")), "{said:?}");
    ensure!(said.err.contains("unable to apply apparmor profile: "), "{said:?}");
    bundle.config["process"]["apparmorProfile"] = json!("vm-no-writing");
    bundle.start()?;
    let said = bundle.verb(&["exec", "--apparmor", "vm-gone", "ID", "true"])?;
    ensure!(said.code != 0 && said.err.contains(&missing("vm-gone")), "{said:?}");
    let within = bundle.ok(&["exec", "--apparmor", "unconfined", "ID", "sh", "-c", SELF])?;
    ensure!(within == "unconfined\n", "{within}");
    Ok(())
}

#[test]
#[ignore = "cargo xtask vm-test runs it"]
fn the_features_say_so() -> Result<()> {
    let features: Value = serde_json::from_str(&sh::read(Command::new(program("runc-rs")).arg("features"))?)?;
    ensure!(features["linux"]["apparmor"]["enabled"] == true, "{features}");
    ensure!(Path::new("/sys/kernel/security/apparmor").exists());
    Ok(())
}
