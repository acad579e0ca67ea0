//! What `runc spec` writes.

use super::Spec;

const DEFAULT: &str = include_str!("default_spec.json");
const ROOTLESS: &str = include_str!("rootless_spec.json");
/// The last namespace that both documents have in common.
const MOUNT_NAMESPACE: &str = "{\n\t\t\t\t\"type\": \"mount\"\n\t\t\t}";
/// What is put behind it on a host with cgroup v2 alone.
const CGROUP_NAMESPACE: &str = ",\n\t\t\t{\n\t\t\t\t\"type\": \"cgroup\"\n\t\t\t}";
const HOST_ID: &str = "\"hostID\": 0";

/// The text of a new config.json. On a host with cgroup v2 alone (`unified`) it asks for a cgroup namespace.
pub fn default_spec_json(unified: bool) -> String {
    with_cgroup_namespace(DEFAULT, unified)
}

/// The same for a user without privileges, who is root inside.
pub fn rootless_spec_json(uid: u32, gid: u32, unified: bool) -> String {
    let text = ROOTLESS
        .replacen(HOST_ID, &format!("\"hostID\":  {uid}"), 1)
        .replacen(HOST_ID, &format!("\"hostID\": {gid}"), 1)
        .replace("\"hostID\":  ", "\"hostID\": ");
    with_cgroup_namespace(&text, unified)
}

/// The new config.json of a host with cgroup v1, as typed values.
pub fn default_spec() -> Spec {
    // A test holds this to be readable.
    serde_json::from_str(DEFAULT).unwrap_or_default()
}

fn with_cgroup_namespace(text: &str, unified: bool) -> String {
    match unified {
        true => text.replacen(MOUNT_NAMESPACE, &format!("{MOUNT_NAMESPACE}{CGROUP_NAMESPACE}"), 1),
        false => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use crate::runtime::{LinuxNamespaceType, parse};

    use super::*;

    fn namespaces(spec: &Spec) -> Vec<LinuxNamespaceType> {
        let linux = spec.linux().as_ref().unwrap();
        linux.namespaces().as_ref().unwrap().iter().map(|ns| ns.typ()).collect()
    }

    #[test]
    fn the_typed_and_the_written_one_are_the_same() {
        assert_eq!(default_spec(), parse(default_spec_json(false).as_bytes()).unwrap());
        assert_eq!(default_spec().version(), crate::runtime::SPEC_VERSION);
        assert_eq!(default_spec().hostname().as_deref(), Some("runc"));
        assert_eq!(default_spec().mounts().as_ref().unwrap().len(), 7);
    }

    #[test]
    fn cgroup_v2_adds_its_namespace() {
        let spec = parse(default_spec_json(true).as_bytes()).unwrap();
        assert_eq!(namespaces(&spec).last(), Some(&LinuxNamespaceType::Cgroup));
    }

    #[test]
    fn rootless_maps_the_user() {
        let text = rootless_spec_json(0, 1001, true);
        let spec = parse(text.as_bytes()).unwrap();
        let linux = spec.linux().as_ref().unwrap();
        let host = |ids: &Option<Vec<crate::runtime::LinuxIdMapping>>| ids.as_ref().unwrap()[0].host_id();
        assert_eq!((host(linux.uid_mappings()), host(linux.gid_mappings())), (0, 1001));
        assert_eq!(namespaces(&spec).last(), Some(&LinuxNamespaceType::User));
        assert!(linux.resources().is_none() && !text.contains("gid=5") && !text.contains("hostID\":  "));
    }
}
