//! What cannot be had without the newest calls, and what is said then. On a kernel that has them these tests look at what
//! they give instead.

use std::fs;

use serde_json::json;

use crate::bundle::Bundle;

/// Whether the kernel has the newer calls; tests that take them away say so.
fn newer() -> bool {
    let denied = std::env::var_os("WITHOUT_MOUNT_API").is_some();
    assert!(!(denied && sys::mount::has_descriptor_calls()));
    sys::mount::has_descriptor_calls()
}

fn with_data(options: serde_json::Value) -> Bundle {
    let mut bundle = Bundle::new(&["true"]);
    bundle.config["root"]["readonly"] = json!(false);
    fs::create_dir(bundle.dir.path().join("data")).unwrap();
    bundle.mount(json!({"destination": "/data", "source": "data", "options": options}));
    bundle
}

#[test]
fn recursive_options() {
    let said = with_data(json!(["rbind", "rro"])).run();
    let ok = newer();
    assert_eq!(said.code == 0, ok, "{}", said.err);
    assert!(ok || said.err.contains("need mount_setattr (Linux 5.12)"), "{}", said.err);
}

#[test]
fn id_mapped_mounts_by_name() {
    let mut bundle = with_data(json!(["rbind", "idmap"]));
    let map = json!([{"containerID": 0, "hostID": 7000, "size": 1000}]);
    let mount = bundle.config["mounts"].as_array_mut().unwrap().last_mut().unwrap();
    mount["uidMappings"] = map.clone();
    mount["gidMappings"] = map;
    let said = bundle.run();
    let ok = newer();
    assert_eq!(said.code == 0, ok, "{}", said.err);
    assert!(ok || said.err.contains("mount /data: id-mapped mounts need mount_setattr"), "{}", said.err);
}
