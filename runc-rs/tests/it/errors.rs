//! What goes wrong, and in which words.

use std::fs;

use serde_json::json;

use crate::bundle::Bundle;

#[test]
fn a_program_that_is_not_there() {
    for (program, text) in [
        ("nosuch", "exec: \"nosuch\": executable file not found in $PATH"),
        ("/nosuch", "exec: \"/nosuch\": stat /nosuch: no such file or directory"),
        ("/etc", "exec: \"/etc\": is a directory"),
        ("/etc/passwd", "exec: \"/etc/passwd\": permission denied"),
    ] {
        let bundle = Bundle::new(&[program]);
        let said = bundle.create();
        assert_eq!(said.code, 1);
        let whole = format!("runc create failed: unable to start container process: {text}");
        assert!(said.err.contains(&whole.replace('"', "\\\"")), "{}", said.err);
        assert!(!bundle.state_dir().exists());
        assert_eq!(bundle.cgroups().len(), 0);
    }
}

#[test]
fn a_program_of_an_unknown_format() {
    let bundle = Bundle::new(&["/bin/garbage"]);
    let path = bundle.rootfs().join("bin/garbage");
    fs::write(&path, [0_u8; 64]).unwrap();
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let said = bundle.run();
    assert_eq!(said.code, 1);
    assert!(said.err.contains("exec /bin/garbage: exec format error"), "{}", said.err);
}

#[test]
fn mounts_that_fail_say_which() {
    let mut bundle = Bundle::new(&["true"]);
    bundle.mount(json!({"destination": "/x", "source": "/no/such", "options": ["bind"]}));
    let said = bundle.verb(&["--log", "log", "run"]);
    let text =
        "error mounting \"/no/such\" to rootfs at \"/x\": open_tree /no/such: no such file or directory";
    assert!(said.err.contains(text), "{}", said.err);
    let mut bundle = Bundle::new(&["true"]);
    bundle.mount(json!({"destination": "/dev/y", "type": "tmpfs", "options": ["bogus=1"]}));
    let said = bundle.run();
    assert!(said.err.contains("bogus"), "{}", said.err);
}

#[test]
fn what_cannot_be_carried_out_is_named() {
    let mut bundle = Bundle::new(&["true"]);
    bundle.config["linux"]["intelRdt"] = json!({"closID": "x"});
    let mounted = fs::read_to_string("/proc/self/mountinfo").unwrap().contains(" - resctrl ");
    assert!(
        mounted || bundle.run().err.contains("intelRdt is specified in config, but Intel RDT is not enabled")
    );
    let mut bundle = Bundle::new(&["true"]);
    bundle.config["linux"]["mountLabel"] = json!("system_u:object_r:container_file_t:s0");
    let enabled = std::path::Path::new("/sys/fs/selinux/enforce").exists();
    assert!(enabled || bundle.run().err.contains("linux.mountLabel is specified in config"));
    let mut bundle = Bundle::new(&["true"]);
    bundle.config["process"]["apparmorProfile"] = json!("some");
    let enabled = fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|t| t.starts_with(b"Y"));
    assert!(enabled || bundle.run().err.contains("apparmor"));
}

#[test]
fn bad_ids_and_bundles() {
    let bundle = Bundle::new(&["true"]);
    let said = bundle.command(&["create", "a/b"]).output().unwrap();
    assert!(String::from_utf8(said.stderr).unwrap().contains("invalid container ID format"));
    let said = bundle.command(&["create", "-b", "/no/such", "x"]).output().unwrap();
    assert!(String::from_utf8(said.stderr).unwrap().contains("/no/such"));
    let said = bundle.command(&["create", "-b", "/", "x"]).output().unwrap();
    assert!(String::from_utf8(said.stderr).unwrap().contains("config.json not found"));
    let mut bundle = Bundle::new(&["true"]);
    bundle.config["root"]["path"] = json!("nowhere");
    assert!(bundle.run().err.contains("invalid rootfs"));
}

#[test]
fn command_lines_that_cannot_be_read() {
    let bundle = Bundle::new(&["true"]);
    let said = bundle.verb(&["state", "--frob"]);
    assert_eq!(said.code, 1);
    assert!(said.out.starts_with("Incorrect Usage."), "{}", said.out);
    assert!(said.err.contains("flag provided but not defined: -frob"), "{}", said.err);
    let said = bundle.command(&["state"]).output().unwrap();
    assert!(String::from_utf8(said.stderr).unwrap().contains("requires exactly 1 argument(s)"));
    let said = bundle.command(&["--log-format", "xml", "list"]).output().unwrap();
    assert!(String::from_utf8(said.stderr).unwrap().contains("invalid log-format: xml"));
    let version = bundle.command(&["--version"]).output().unwrap();
    let version = String::from_utf8(version.stdout).unwrap();
    assert!(version.starts_with("runc version "), "{version}");
    assert!(version.lines().any(|l| l.starts_with("commit: ")));
    assert!(version.lines().any(|l| l.starts_with("spec: ")));
}

#[test]
fn a_terminal_needs_a_way_out() {
    let mut bundle = Bundle::new(&["true"]);
    bundle.config["process"]["terminal"] = json!(true);
    let said = bundle.create();
    assert!(
        said.err.contains("cannot allocate tty if runc will detach without setting console socket"),
        "{}",
        said.err
    );
}
