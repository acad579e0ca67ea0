//! Checkpoint and restore, where criu works on the kernel; and what is said where it does not.

use std::fs;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::bundle::Bundle;

/// Whether Debian's criu can do its work here.
fn works() -> bool {
    let check = Command::new("criu").arg("check").stdout(Stdio::null()).stderr(Stdio::null()).status();
    check.is_ok_and(|status| status.success())
}

/// A container that counts in a file of the bundle.
fn counter() -> Bundle {
    let mut bundle = Bundle::script("i=0; while :; do i=$((i+1)); echo $i >> /out/count; sleep 0.05; done");
    let out = bundle.dir.path().join("counts");
    fs::create_dir(&out).unwrap();
    bundle.mount(json!({"destination": "/out", "source": out, "options": ["bind"]}));
    bundle
}

/// The numbers so far, of which the last may be half written.
fn numbers(bundle: &Bundle) -> Vec<u32> {
    let text = fs::read_to_string(bundle.dir.path().join("counts/count")).unwrap_or_default();
    text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')?.parse().ok()).collect()
}

fn counts_on(bundle: &Bundle, from: usize) {
    bundle.wait("the counter", || numbers(bundle).len() > from + 2);
}

/// Its standard streams go nowhere: pipes of the test would outlive it.
fn quietly(bundle: &Bundle, args: &[&str]) -> (i32, String) {
    let err = fs::File::create(bundle.dir.path().join("complaint")).unwrap();
    let mut command = bundle.command(args);
    command.arg(&bundle.id).stdout(Stdio::null()).stderr(err);
    let code = command.status().unwrap().code().unwrap();
    (code, fs::read_to_string(bundle.dir.path().join("complaint")).unwrap())
}

fn started() -> Bundle {
    let bundle = counter();
    let mut command = bundle.command(&["run", "--detach"]);
    command.arg(&bundle.id).stdout(Stdio::null()).stderr(Stdio::null());
    assert!(command.status().unwrap().success());
    counts_on(&bundle, 0);
    bundle
}

#[test]
fn a_counter_goes_on_counting() {
    let bundle = started();
    let (code, said) = quietly(&bundle, &["checkpoint", "--image-path", "image", "--work-path", "work"]);
    if !works() {
        // The reason is criu's own, by the file and line of its source.
        assert_eq!(code, 1, "{said}");
        assert!(said.contains("criu failed: type DUMP") && said.contains("criu: Error (criu/"), "{said}");
        assert_eq!(bundle.status(), "running");
        return;
    }
    assert_eq!(code, 0, "{said}");
    assert!(!bundle.state_dir().exists());
    let before = numbers(&bundle);
    let (code, said) = quietly(
        &bundle,
        &["restore", "--detach", "--pid-file", "pid", "--image-path", "image", "--work-path", "work"],
    );
    assert_eq!(code, 0, "{said}");
    assert_eq!(bundle.status(), "running");
    assert_eq!(fs::read_to_string(bundle.dir.path().join("pid")).unwrap(), bundle.pid().to_string());
    counts_on(&bundle, before.len());
    let after = numbers(&bundle);
    assert_eq!(after, (1..=after.len() as u32).collect::<Vec<_>>(), "no number is missing or told twice");
    assert_eq!(bundle.exec(&["hostname"]).ok(), "box\n");
    assert!(!bundle.state_dir().join("criu-root").exists());
}

#[test]
fn one_that_is_left_running() {
    let bundle = started();
    let (code, said) = quietly(&bundle, &["checkpoint", "--leave-running"]);
    assert_eq!(code == 0, works(), "{said}");
    assert_eq!(bundle.status(), "running");
    counts_on(&bundle, numbers(&bundle).len());
}

/// Whatever it failed at, the same command line may be tried again.
#[test]
fn a_restore_that_failed_leaves_nothing() {
    let bundle = counter();
    fs::create_dir(bundle.dir.path().join("empty")).unwrap();
    let streams = bundle.dir.path().join("streams");
    fs::create_dir(&streams).unwrap();
    fs::write(streams.join("descriptors.json"), r#"["/dev/null","/dev/null","/dev/null"]"#).unwrap();
    fs::write(bundle.dir.path().join("file"), "").unwrap();
    for images in ["nowhere", "file", "empty", "streams", "empty"] {
        for flags in [vec!["restore", "-d"], vec!["restore"]] {
            let (code, said) = quietly(&bundle, &[flags, vec!["--image-path", images]].concat());
            assert_eq!(code, 1, "{images}: {said}");
            assert!(!said.contains("already exists") && said.contains("level=error"), "{images}: {said}");
            assert!(!bundle.state_dir().exists(), "{images}");
            assert_eq!(bundle.cgroups(), Vec::<std::path::PathBuf>::new(), "{images}");
        }
    }
    // Nothing of the name is left either.
    bundle.create().ok();
    let (code, said) = quietly(&bundle, &["restore", "--image-path", "empty"]);
    assert!(code == 1 && said.contains("container with given ID already exists"), "{said}");
    assert_eq!(bundle.status(), "created");
}

#[test]
fn what_cannot_be_is_said_before_criu_is_asked() {
    let bundle = counter();
    bundle.create().ok();
    let said = bundle.verb(&["checkpoint"]);
    assert!(said.err.contains("Container cannot be checkpointed in created state"), "{}", said.err);
    bundle.verb(&["start"]).ok();
    for (flag, value, words) in [
        ("--parent-path", "/abs", "--parent-path must be relative"),
        ("--parent-path", "none", "invalid --parent-path"),
        ("--manage-cgroups-mode", "odd", "Invalid manage-cgroups-mode value"),
        ("--page-server", "nowhere", "Use --page-server ADDRESS:PORT"),
        ("--empty-ns", "pid", "is not supported"),
        ("--status-fd", "77", "invalid --status-fd argument 77"),
    ] {
        let said = bundle.verb(&["checkpoint", flag, value]);
        assert_eq!(said.code, 1);
        assert!(said.err.contains(words), "{}", said.err);
    }
    let help = bundle.command(&["checkpoint", "--help"]).output().unwrap();
    assert!(help.status.success() && String::from_utf8_lossy(&help.stdout).contains("--leave-running"));
    let mut other = bundle.command(&["restore", "--image-path", "nothing", "other"]);
    let said = other.output().unwrap();
    assert_eq!(said.status.code(), Some(1));
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.contains("descriptors.json: no such file"), "{said}");
    assert!(!bundle.dir.path().join("state/other").exists());
}
