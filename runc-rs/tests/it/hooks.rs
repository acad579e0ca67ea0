//! The six kinds of hooks.

use std::fs;

use serde_json::{Value, json};

use crate::bundle::Bundle;

fn append(bundle: &Bundle, word: &str) -> Value {
    let path = bundle.dir.path().join("log");
    let script = format!("{{ echo {word}; cat; echo; }} >> {}", path.display());
    json!({"path": "/bin/sh", "args": ["sh", "-c", script]})
}

#[test]
fn all_six_in_order() {
    let mut bundle = Bundle::new(&["true"]);
    let log = bundle.dir.path().join("log");
    fs::write(bundle.rootfs().join("started"), "").unwrap();
    bundle.config["root"]["readonly"] = json!(false);
    let inside = json!({"path": "/bin/sh", "args": ["sh", "-c", "cat > /started; echo $TERM >> /started"]});
    bundle.config["hooks"] = json!({
        "prestart": [append(&bundle, "prestart")],
        "createRuntime": [append(&bundle, "createRuntime")],
        "createContainer": [append(&bundle, "createContainer")],
        "startContainer": [inside],
        "poststart": [append(&bundle, "poststart")],
        "poststop": [append(&bundle, "poststop")]
    });
    bundle.create().ok();
    let said = |log: &str| -> Vec<(String, String)> {
        let lines: Vec<&str> = log.lines().collect();
        lines
            .chunks(2)
            .map(|pair| {
                let state: Value = serde_json::from_str(pair[1]).unwrap();
                (pair[0].to_owned(), state["status"].as_str().unwrap().to_owned())
            })
            .collect()
    };
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    let before = said(&fs::read_to_string(&log).unwrap());
    let created = vec![
        pair("prestart", "creating"),
        pair("createRuntime", "creating"),
        pair("createContainer", "creating"),
    ];
    assert_eq!(before, created);
    bundle.verb(&["start"]).ok();
    bundle.wait("the end", || bundle.status() == "stopped");
    bundle.verb(&["delete"]).ok();
    let after = said(&fs::read_to_string(&log).unwrap());
    assert_eq!(after[3..], [pair("poststart", "running"), pair("poststop", "stopped")]);
    let inside = fs::read_to_string(bundle.rootfs().join("started")).unwrap();
    assert!(inside.contains("\"status\":\"created\""), "{inside}");
    assert!(inside.ends_with("xterm\n"), "the container's environment: {inside}");
}

/// config.md, "POSIX-platform Hooks": those of the runtime in its namespaces, those of the container in the container's.
#[test]
fn each_in_its_network_namespace() {
    let mut bundle = Bundle::new(&["true"]);
    let log = bundle.dir.path().join("log");
    let look = |word: &str| {
        let script = format!("echo {word} $(readlink /proc/self/ns/net) >> {}", log.display());
        json!({"path": "/bin/sh", "args": ["sh", "-c", script]})
    };
    bundle.config["hooks"] = json!({
        "prestart": [look("prestart")],
        "createRuntime": [look("createRuntime")],
        "createContainer": [look("createContainer")],
        "poststart": [look("poststart")],
        "poststop": [look("poststop")]
    });
    bundle.create().ok();
    let link = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/net")).unwrap().display().to_string();
    let (own, containers) = (link("self"), link(&bundle.pid().to_string()));
    assert_ne!(own, containers);
    bundle.verb(&["start"]).ok();
    bundle.wait("the end", || bundle.status() == "stopped");
    bundle.verb(&["delete"]).ok();
    let expected = [
        format!("prestart {own}"),
        format!("createRuntime {own}"),
        format!("createContainer {containers}"),
        format!("poststart {own}"),
        format!("poststop {own}"),
    ];
    assert_eq!(fs::read_to_string(&log).unwrap().lines().collect::<Vec<_>>(), expected);
}

#[test]
fn without_an_environment_of_its_own_it_has_the_runtime_s() {
    let mut bundle = Bundle::new(&["true"]);
    bundle.config["root"]["readonly"] = json!(false);
    let log = bundle.dir.path().join("log");
    let look = |word: &str, env: Value| {
        let script = format!("echo {word} ${{MARK-none}} >> {}", log.display());
        let mut hook = json!({"path": "/bin/sh", "args": ["sh", "-c", script]});
        hook["env"] = env;
        hook
    };
    bundle.config["hooks"] = json!({
        "prestart": [look("prestart", json!(null)), look("empty", json!([])), look("own", json!(["MARK=its"]))],
        "createRuntime": [look("createRuntime", json!(null))],
        "createContainer": [look("createContainer", json!(null))],
        "startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", "echo ${MARK-none} > /mark"]}],
        "poststart": [look("poststart", json!(null))],
        "poststop": [look("poststop", json!(null))]
    });
    let mut command = bundle.command(&["run"]);
    let output = command.arg(&bundle.id).env("MARK", "runtime").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = fs::read_to_string(&log).unwrap();
    let expected = [
        "prestart runtime",
        "empty none",
        "own its",
        "createRuntime runtime",
        "createContainer none",
        "poststart runtime",
        "poststop runtime",
    ];
    assert_eq!(said.lines().collect::<Vec<_>>(), expected);
    assert_eq!(fs::read_to_string(bundle.rootfs().join("mark")).unwrap(), "none\n");
}

#[test]
fn a_failing_hook_fails_the_creation() {
    for kind in ["prestart", "createRuntime", "createContainer"] {
        let mut bundle = Bundle::new(&["true"]);
        bundle.config["hooks"] =
            json!({kind: [{"path": "/bin/sh", "args": ["sh", "-c", "echo sorry >&2; exit 4"]}]});
        let said = bundle.verb(&["--log", "log", "create"]);
        assert_eq!(said.code, 1);
        let text = format!("error running {kind} hook #0: exit status 4, stdout: , stderr: sorry");
        assert!(said.err.contains(&text), "{}", said.err);
        assert!(!bundle.state_dir().exists());
    }
}

#[test]
fn a_failing_poststart_hook_ends_the_container() {
    let mut bundle = Bundle::new(&["sleep", "1000"]);
    bundle.config["hooks"] = json!({"poststart": [{"path": "/bin/false"}]});
    bundle.create().ok();
    let said = bundle.verb(&["start"]);
    assert!(said.err.contains("error running poststart hook #0: exit status 1"), "{}", said.err);
    bundle.wait("the end", || bundle.status() == "stopped");
}
