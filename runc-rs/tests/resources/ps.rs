//! `ps`.

use serde_json::Value;

use crate::bundle::Bundle;

#[test]
fn processes_in_both_forms() {
    let Some(b) = Bundle::new(&["sh", "-c", "sleep 100 & exec sleep 101"]) else { return };
    b.run_detached();
    let state: Value = serde_json::from_str(&b.ok(&["state", &b.id])).unwrap();
    let init = state["pid"].as_i64().unwrap();
    let listed = || -> Vec<i64> { serde_json::from_str(&b.ok(&["ps", "--format", "json", &b.id])).unwrap() };
    while listed().len() < 2 {
        std::thread::yield_now();
    }
    assert!(listed().contains(&init));
    let table = b.ok(&["ps", &b.id]);
    assert!(table.lines().next().unwrap().contains("PID") && table.contains("sleep 100"), "{table}");
    assert_eq!(table.lines().count(), 3, "{table}");
    let own = b.ok(&["ps", &b.id, "-o", "pid,comm", "-e"]);
    assert!(own.contains("PID COMMAND"), "{own}");
    assert!(b.fails(&["ps", "--format", "xml", &b.id]).contains("invalid format option"));
}
