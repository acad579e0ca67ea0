//! The cgroups named after namespaces, which executors make as parents of containers' cgroups and leave behind.

use std::path::Path;

use flows::Rooms;

/// Removes those that hold nothing, once the daemon goes. The kernel refuses to remove one that holds a process or another cgroup, so
/// nobody's container can be hit.
pub fn tidy(rooms: &Rooms) {
    let namespaces = match rooms.namespaces.list() {
        Ok(namespaces) => namespaces,
        Err(error) => return tracing::warn!(error = %error.chain(), "empty cgroups stay"),
    };
    let Ok(hierarchies) = std::fs::read_dir("/sys/fs/cgroup") else { return };
    let mut roots: Vec<_> =
        hierarchies.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    roots.push(Path::new("/sys/fs/cgroup").to_owned());
    for namespace in &namespaces {
        for root in &roots {
            // Mostly it is not there, or not empty: both are as it should be.
            let _ = std::fs::remove_dir(root.join(namespace.name.as_str()));
        }
    }
}
