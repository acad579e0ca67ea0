//! Controllers net_cls and net_prio (Documentation/admin-guide/cgroup-v1/net_{cls,prio}.rst).

use std::path::Path;

use oci::runtime::LinuxResources;

use super::need;
use crate::cgroup::{Result, file};

/// Applies `network`: the class of all packets, and the priority by interface.
pub fn set(cls: Option<&Path>, prio: Option<&Path>, resources: &LinuxResources) -> Result<()> {
    let Some(network) = resources.network() else { return Ok(()) };
    if let Some(class) = network.class_id().filter(|class| *class != 0) {
        file::write(need(cls, "net_cls", "network.classID")?, "net_cls.classid", &class.to_string())?;
    }
    for priority in network.priorities().iter().flatten() {
        let line = format!("{} {}", priority.name(), priority.priority());
        file::write(need(prio, "net_prio", "network.priorities")?, "net_prio.ifpriomap", &line)?;
    }
    Ok(())
}
