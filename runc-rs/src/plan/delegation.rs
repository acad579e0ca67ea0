//! Who owns the container's cgroup: runc hands it, on version 2, to the user of the container's program, if the container sees
//! no other cgroup and may write there.

use super::Plan;
use super::mounts::Source;
use super::namespaces::Kind;
use super::step::Step;

impl Plan {
    /// The user on the host, if it is to be handed over.
    pub fn cgroup_owner(&self) -> Option<u32> {
        let writable = |step: &Step| match step {
            Step::Mount(m) => m.source == Source::Cgroup && m.options.attr.set & sys::mount::RDONLY == 0,
            _ => false,
        };
        if !self.namespaces.is_new(Kind::Cgroup) || !self.steps.iter().any(writable) {
            return None;
        }
        let uid = self.process.uid;
        if !self.namespaces.has(Kind::User) {
            return Some(uid);
        }
        let range =
            self.uid_maps.iter().find(|map| uid >= map.container && uid - map.container < map.size)?;
        range.host.checked_add(uid - range.container)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use crate::plan::{Choices, create};

    fn owner(namespaces: &[&str], option: &str) -> Option<u32> {
        let namespaces: Vec<_> = namespaces.iter().map(|kind| json!({"type": kind})).collect();
        let mut config = json!({
            "ociVersion": "1.0.2",
            "process": {"user": {"uid": 5, "gid": 0}, "args": ["sh"], "cwd": "/"},
            "root": {"path": "rootfs"},
            "mounts": [{"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": [option]}],
            "linux": {"namespaces": namespaces}
        });
        if namespaces.iter().any(|namespace| namespace["type"] == "user") {
            let maps = json!([{"containerID": 0, "hostID": 1000, "size": 1}, {"containerID": 1, "hostID": 7000, "size": 9}]);
            config["linux"]["uidMappings"] = maps.clone();
            config["linux"]["gidMappings"] = maps;
        }
        let spec = serde_json::from_value(config).unwrap();
        create("c1", Path::new("/bundle"), &spec, &Choices::default()).unwrap().cgroup_owner()
    }

    #[test]
    fn the_programs_user_owns_a_writable_cgroup_of_its_own() {
        assert_eq!(owner(&["mount", "cgroup", "user"], "rw"), Some(7004));
        assert_eq!(owner(&["mount", "cgroup"], "rw"), Some(5));
        assert_eq!(owner(&["mount", "cgroup"], "ro"), None);
        assert_eq!(owner(&["mount"], "rw"), None);
    }
}
