//! The folders named after namespaces that executors leave behind: parents of containers' cgroups, and of their state.

use std::collections::BTreeSet;
use std::path::Path;

use errors::Result;
use flows::Rooms;
use ids::Namespace;

/// Where shims have executors keep the state of containers, unless a client names another place.
const EXECUTORS: &str = "/run/containerd/runc";

/// Removes those that hold nothing, once the daemon goes. The kernel refuses to remove one that holds a process, another cgroup or a
/// container's state, so nobody's container can be hit.
pub fn tidy(rooms: &Rooms) {
    let namespaces = match namespaces(rooms) {
        Ok(namespaces) => namespaces,
        Err(error) => return tracing::warn!(error = %error.chain(), "empty cgroups stay"),
    };
    let Ok(hierarchies) = std::fs::read_dir("/sys/fs/cgroup") else { return };
    let mut roots: Vec<_> =
        hierarchies.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    roots.push(Path::new("/sys/fs/cgroup").to_owned());
    roots.push(Path::new(EXECUTORS).to_owned());
    for namespace in &namespaces {
        let mut gone = true;
        for root in &roots {
            let folder = root.join(namespace.as_str());
            // Mostly it is not there, or not empty: both are as it should be.
            let _ = std::fs::remove_dir(&folder);
            gone &= !folder.exists();
        }
        if gone {
            rooms.tasks.forget_namespace(namespace);
        }
    }
}

/// A namespace is not listed any more once nothing is in it, but its containers had their cgroups.
fn namespaces(rooms: &Rooms) -> Result<BTreeSet<Namespace>> {
    let listed = rooms.namespaces.list()?.into_iter().map(|info| info.name);
    Ok(listed.chain(rooms.tasks.namespaces()).collect())
}
