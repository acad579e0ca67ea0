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
        let whole = format!(
            "runc create failed: unable to start container process: error during container init: {text}"
        );
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

/// A caller reads the last error of the log: the one that matters is the only one.
#[test]
fn a_failure_is_told_once_in_the_kernels_words() {
    let mut bundle = Bundle::new(&["true"]);
    bundle.config["linux"]["resources"] = json!({"cpu": {"cpus": "4000"}});
    bundle.verb(&["--log", "log", "--log-format", "json", "run"]);
    let log = fs::read_to_string(bundle.dir.path().join("log")).unwrap();
    let errors: Vec<&str> = log.lines().filter(|line| line.contains("\"error\"")).collect();
    assert_eq!(errors.len(), 1, "{log}");
    assert!(errors[0].contains("out of range") || errors[0].contains("invalid argument"), "{log}");
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
    assert!(
        said.out.starts_with("Incorrect Usage: flag provided but not defined: -frob\n\nNAME:"),
        "{}",
        said.out
    );
    assert!(said.err.contains("flag provided but not defined: -frob"), "{}", said.err);
    let said = bundle.command(&["state"]).output().unwrap();
    assert!(String::from_utf8(said.stderr).unwrap().contains("requires exactly 1 argument(s)"));
    let said = bundle.command(&["fly"]).output().unwrap();
    assert_eq!(said.status.code(), Some(3));
    assert!(String::from_utf8(said.stderr).unwrap().contains("No help topic for 'fly'"));
    let said = bundle.command(&["--log-format", "xml", "list"]).output().unwrap();
    assert!(String::from_utf8(said.stderr).unwrap().contains("invalid log-format: xml"));
    let version = bundle.command(&["--version"]).output().unwrap();
    let version = String::from_utf8(version.stdout).unwrap();
    assert!(version.starts_with("runc-rs version "), "{version}");
    assert!(version.lines().any(|l| l.starts_with("commit: ")));
    assert!(version.lines().any(|l| l.starts_with("spec: ")));
}

/// Programs that look for "runc version" find it where this one is called runc.
#[test]
fn the_name_it_is_called_by() {
    let bundle = Bundle::new(&["true"]);
    let link = bundle.dir.path().join("runc");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_runc-rs"), &link).unwrap();
    let said = |args: &[&str]| {
        let output = std::process::Command::new(&link).args(args).output().unwrap();
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    assert!(said(&["--version"]).0.starts_with("runc version "));
    let (help, error) = said(&["state"]);
    assert!(help.contains("\n   runc state - output the state of a container\n"), "{help}");
    let words = format!("{}: \\\"state\\\" requires exactly 1 argument(s)", link.display());
    assert!(error.contains(&words), "{error}");
}

/// With `--debug` each line says where it comes from, under the keys that logrus has for it.
#[test]
fn logs_with_their_source() {
    let bundle = Bundle::new(&["true"]);
    bundle.verb(&["--debug", "--log", "log", "--log-format", "json", "run"]).ok();
    let log = fs::read_to_string(bundle.dir.path().join("log")).unwrap();
    let lines: Vec<serde_json::Value> = log.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let step = lines.iter().find(|l| l["msg"].as_str().unwrap().starts_with("init: Ready")).unwrap();
    assert_eq!(step["level"], "debug");
    assert_eq!(step["func"], "runc_rs::stage::init");
    assert!(step["file"].as_str().unwrap().contains("runc-rs/src/stage/init.rs:"), "{step}");
    let quiet = bundle.verb(&["--log", "quiet", "--log-format", "json", "state"]);
    assert_eq!(quiet.code, 1);
    let line: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(bundle.dir.path().join("quiet")).unwrap()).unwrap();
    assert_eq!(line["msg"], "container does not exist");
    assert!(line.get("file").is_none());
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
