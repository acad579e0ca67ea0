//! From create to delete.

use serde_json::{Value, json};

use crate::bundle::Bundle;

#[test]
fn create_start_state_kill_delete() {
    let mut bundle = Bundle::new(&["sleep", "1000"]);
    bundle.config["annotations"] = json!({"org.example.key": "value"});
    bundle.create().ok();
    assert!(bundle.state_dir().join("exec.fifo").exists());
    let state = bundle.state();
    assert_eq!(state["status"], "created");
    assert_eq!(state["id"], bundle.id.as_str());
    assert_eq!(state["ociVersion"], "1.3.0");
    assert_eq!(state["bundle"], bundle.dir.path().to_str().unwrap());
    assert_eq!(state["rootfs"], bundle.rootfs().to_str().unwrap());
    assert_eq!(state["annotations"], json!({"org.example.key": "value"}));
    assert_eq!(state["owner"], "");
    bundle.verb(&["start"]).ok();
    assert_eq!(bundle.status(), "running");
    assert!(!bundle.state_dir().join("exec.fifo").exists());

    let refused = bundle.verb(&["delete"]);
    assert_eq!(refused.code, 1);
    assert!(refused.err.contains("that is not stopped: running"), "{}", refused.err);

    bundle.verb_with(&["kill"], &["KILL"]).ok();
    bundle.wait("the end", || bundle.status() == "stopped");
    assert_eq!(bundle.state()["pid"], 0);
    let dead = bundle.verb_with(&["kill"], &["TERM"]);
    assert!(dead.err.contains("container not running"), "{}", dead.err);
    bundle.verb(&["delete"]).ok();
    let gone = bundle.verb(&["state"]);
    assert_eq!(gone.code, 1);
    assert!(gone.err.contains("container does not exist"));
    assert!(bundle.verb(&["delete"]).err.contains("container does not exist"));
}

#[test]
fn state_json_has_the_keys_that_others_read() {
    let bundle = Bundle::new(&["sleep", "1000"]).started();
    let text = std::fs::read(bundle.state_dir().join("state.json")).unwrap();
    let state: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(state["init_process_pid"], bundle.pid());
    assert!(state["init_process_start"].as_u64().unwrap() > 0);
    let pid = bundle.pid();
    assert_eq!(state["namespace_paths"]["NEWNET"], format!("/proc/{pid}/ns/net"));
    assert_eq!(state["config"]["rootfs"], bundle.rootfs().to_str().unwrap());
    let labels = state["config"]["labels"].as_array().unwrap();
    assert!(labels.contains(&json!(format!("bundle={}", bundle.dir.path().display()))));
    for path in state["cgroup_paths"].as_object().unwrap().values() {
        assert!(std::path::Path::new(path.as_str().unwrap()).is_dir(), "{path}");
    }
}

#[test]
fn a_created_container_can_be_deleted() {
    let bundle = Bundle::new(&["true"]);
    bundle.create().ok();
    let pid = bundle.pid();
    bundle.verb(&["delete"]).ok();
    assert!(!std::path::Path::new(&format!("/proc/{pid}/exe")).exists());
}

#[test]
fn a_running_container_can_be_deleted_by_force() {
    let bundle = Bundle::new(&["sleep", "1000"]).started();
    bundle.verb(&["delete", "--force"]).ok();
    bundle.verb(&["delete", "--force"]).ok();
}

#[test]
fn an_init_that_dies_before_start_is_stopped() {
    let bundle = Bundle::new(&["true"]);
    bundle.create().ok();
    bundle.verb_with(&["kill"], &["9"]).ok();
    bundle.wait("the end", || bundle.status() == "stopped");
    let late = bundle.verb(&["start"]);
    assert!(late.err.contains("cannot start a container that has stopped"), "{}", late.err);
}

#[test]
fn half_made_state_is_cleaned_up() {
    let bundle = Bundle::new(&["true"]);
    std::fs::create_dir_all(bundle.state_dir()).unwrap();
    assert!(bundle.create().err.contains("container with given ID already exists"));
    assert!(bundle.verb(&["state"]).err.contains("container does not exist"));
    bundle.verb(&["delete", "--force"]).ok();
    std::fs::create_dir_all(bundle.state_dir()).unwrap();
    std::fs::write(bundle.state_dir().join("state.json"), "{").unwrap();
    assert!(bundle.verb(&["state"]).err.contains("state.json"));
    bundle.verb(&["delete", "--force"]).ok();
    assert!(!bundle.state_dir().exists());
}

#[test]
fn run_hands_the_status_on() {
    assert_eq!(Bundle::script("exit 7").run().code, 7);
    assert_eq!(Bundle::new(&["true"]).run().code, 0);
    let bundle = Bundle::new(&["sleep", "1000"]);
    let mut child = bundle.command(&["run"]).arg(&bundle.id).spawn().unwrap();
    let program = |pid: i32| std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    bundle.wait("the start", || {
        bundle.verb(&["state"]).out.contains("running") && program(bundle.pid()).starts_with(b"sleep")
    });
    bundle.verb_with(&["kill"], &["KILL"]).ok();
    assert_eq!(child.wait().unwrap().code(), Some(137));
    assert!(!bundle.state_dir().exists());
}

#[test]
fn run_forwards_signals() {
    // The last one is real-time, and one that a C library may keep to itself.
    for (number, word) in [(15, "TERM"), (34, "34")] {
        let bundle = Bundle::script(&format!("trap 'exit 5' {word}; echo up; while :; do sleep 0.01; done"));
        let mut child =
            bundle.command(&["run"]).arg(&bundle.id).stdout(std::process::Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.as_mut().unwrap()), &mut line)
            .unwrap();
        assert_eq!(line, "up\n");
        sys::signal::kill(child.id().cast_signed(), number).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(5));
    }
}

#[test]
fn run_detached_keeps_running() {
    let bundle = Bundle::new(&["sleep", "1000"]);
    let pid_file = bundle.dir.path().join("pid");
    let mut command = bundle.command(&["run", "-d", "--pid-file", pid_file.to_str().unwrap()]);
    let nowhere = std::process::Stdio::null;
    assert!(command.arg(&bundle.id).stdout(nowhere()).stderr(nowhere()).status().unwrap().success());
    assert_eq!(bundle.status(), "running");
    assert_eq!(std::fs::read_to_string(pid_file).unwrap(), bundle.pid().to_string());
}

#[test]
fn run_keep_keeps_the_state() {
    let bundle = Bundle::new(&["true"]);
    bundle.verb(&["run", "--keep"]).ok();
    assert_eq!(bundle.status(), "stopped");
}

#[test]
fn list_shows_what_there_is() {
    let bundle = Bundle::new(&["sleep", "1000"]);
    let empty = bundle.command(&["list"]).output().unwrap();
    assert_eq!(
        String::from_utf8(empty.stdout).unwrap(),
        "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n"
    );
    let none = bundle.command(&["list", "--format", "json"]).output().unwrap();
    assert_eq!(none.stdout, b"null\n");
    let bundle = bundle.started();
    let quiet = bundle.command(&["list", "-q"]).output().unwrap();
    assert_eq!(String::from_utf8(quiet.stdout).unwrap(), format!("{}\n", bundle.id));
    let json = bundle.command(&["list", "-f=json"]).output().unwrap();
    let all: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(all[0]["id"], bundle.id.as_str());
    assert_eq!(all[0]["status"], "running");
    assert_eq!(all[0]["owner"], "root");
}

#[test]
fn no_signal_at_all_is_the_usual_one() {
    let bundle = Bundle::script("trap 'exit 3' TERM; while :; do sleep 1; done").started();
    bundle.wait("the trap", || {
        bundle.exec(&["grep", "-q", "SigCgt:.*[4567cdef]...$", "/proc/1/status"]).code == 0
    });
    bundle.verb_with(&["kill"], &[""]).ok();
    bundle.wait("the end", || bundle.status() == "stopped");
}
