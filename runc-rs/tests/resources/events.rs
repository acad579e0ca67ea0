//! `events`.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::bundle::Bundle;

const RUNC: &str = "/usr/sbin/runc";

/// Figures that are left out when they are nought, which a short life may make them.
const MAY_BE_ZERO: [&str; 5] = [
    "/memory/cache",
    "/memory/kernelTCP/usage",
    "/memory/kernel/max",
    "/cpu/usage/total",
    "/memory/swap/max",
];

/// Every key of a document, as paths.
fn keys(value: &Value, at: &str, found: &mut Vec<String>) {
    if let Value::Object(map) = value {
        for (key, value) in map {
            found.push(format!("{at}/{key}"));
            keys(value, &format!("{at}/{key}"), found);
        }
    }
}

fn stats_keys(b: &Bundle) -> Vec<String> {
    b.run_detached();
    let stats = b.stats();
    b.ok(&["kill", &b.id, "KILL"]);
    let mut found = Vec::new();
    keys(&stats, "", &mut found);
    found
}

#[test]
fn the_keys_are_runcs() {
    let args = ["sleep", "100"];
    let runc = PathBuf::from(RUNC);
    if !runc.exists() {
        eprintln!("needs {RUNC}: skipped");
        return;
    }
    let (Some(ours), Some(mut theirs)) = (Bundle::new(&args), Bundle::of(runc, &args)) else { return };
    theirs.config["ociVersion"] = json!("1.0.2");
    let (ours, theirs) = (stats_keys(&ours), stats_keys(&theirs));
    let only = |a: &[String], b: &[String]| -> Vec<String> {
        a.iter().filter(|key| !b.contains(key) && !MAY_BE_ZERO.contains(&key.as_str())).cloned().collect()
    };
    assert_eq!((only(&ours, &theirs), only(&theirs, &ours)), (Vec::new(), Vec::new()));
}

#[test]
fn a_stopped_container_has_no_events() {
    let Some(b) = Bundle::new(&["sleep", "100"]) else { return };
    b.run_detached();
    assert!(b.fails(&["events", "--interval", "0", &b.id]).contains("must be greater than 0"));
    assert!(b.fails(&["events", "nobody"]).contains("container does not exist"));
    b.ok(&["kill", &b.id, "KILL"]);
    while b.status() != "stopped" {
        std::thread::yield_now();
    }
    assert!(b.fails(&["events", "--stats", &b.id]).contains("is not running"));
}

#[test]
fn following_ends_with_the_container() {
    let Some(b) = Bundle::new(&["sleep", "100"]) else { return };
    b.run_detached();
    let mut follow =
        b.command(&["events", "--interval", "20ms", &b.id]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines();
    for line in lines.by_ref().take(3) {
        let event: Value = serde_json::from_str(&line.unwrap()).unwrap();
        assert_eq!(event["type"], "stats");
    }
    b.ok(&["delete", "--force", &b.id]);
    assert!(lines.all(|line| line.is_ok()));
    assert!(follow.wait().unwrap().success());
}
