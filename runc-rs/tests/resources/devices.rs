//! Device rules as a container meets them.

use serde_json::json;

use crate::bundle::Bundle;

/// A character device that every Linux has and no container gets: misc, loop-control.
const OPEN: &str = "mknod /x c 10 237 && (exec 3</x) 2>/dev/null && echo opened || echo refused";

fn with_mknod() -> Option<Bundle> {
    let mut b = Bundle::new(&["sh", "-c", OPEN])?;
    for set in ["bounding", "effective", "permitted"] {
        b.config["process"]["capabilities"][set] = json!(["CAP_MKNOD"]);
    }
    Some(b)
}

#[test]
fn a_device_node_is_of_no_use_without_a_rule() {
    let Some(b) = with_mknod() else { return };
    let (out, err, _) = b.run();
    assert_eq!(out.trim(), "refused", "{err}");
}

#[test]
fn a_rule_opens_it() {
    let Some(mut b) = with_mknod() else { return };
    b.config["linux"]["resources"]["devices"] = json!([
        { "allow": false, "access": "rwm" },
        { "allow": true, "type": "c", "major": 10, "minor": 237, "access": "r" },
    ]);
    let (out, err, _) = b.run();
    assert_eq!(out.trim(), "opened", "{err}");
}
