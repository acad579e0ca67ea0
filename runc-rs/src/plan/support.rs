//! What of config.json is carried out. A legal field that is not must be refused by its name, never passed over.

use oci::runtime::{
    LinuxMemoryPolicy, LinuxPersonality, LinuxPersonalityDomain, MemoryPolicyFlagType, MemoryPolicyModeType,
    Spec,
};

use super::mounts::IdMap;
use super::namespaces::{Kind, Namespaces};
use super::process::number_list;
use super::{Choices, Step};
use crate::error::{Error, Result};

const PER_LINUX32: u32 = 0x0008;

/// Refuses what is not carried out. Whatever release `ociVersion` names, or none, what counts is the fields: runc does not
/// look at it either.
pub fn check(spec: &Spec) -> Result<()> {
    let Some(linux) = spec.linux() else { return Ok(()) };
    match linux.personality() {
        Some(personality) if personality.flags().as_ref().is_some_and(|f| !f.is_empty()) => {
            Err(Error::new("linux.personality.flags: the specification defines none"))
        }
        _ => Ok(()),
    }
}

/// What a user without privileges cannot have, said before the kernel says it less clearly.
pub fn check_rootless(choices: &Choices, namespaces: &Namespaces, spec: &Spec) -> Result<()> {
    if !choices.rootless {
        return Ok(());
    }
    if !namespaces.has(Kind::User) {
        return Err(Error::new("rootless container requires user namespaces"));
    }
    let linux = spec.linux().clone().unwrap_or_default();
    let (uids, gids) = (linux.uid_mappings(), linux.gid_mappings());
    for mount in spec.mounts().iter().flatten() {
        for word in mount.options().iter().flatten().flat_map(|o| o.split(',')) {
            let (id, maps, kind) = match word.split_once('=') {
                Some(("uid", id)) => (id, uids, "uid"),
                Some(("gid", id)) => (id, gids, "gid"),
                _ => continue,
            };
            let mapped = |id: u32| {
                IdMap::all(maps.as_ref()).iter().any(|m| id >= m.container && id - m.container < m.size)
            };
            if namespaces.is_new(Kind::User) && !id.parse().is_ok_and(mapped) {
                return Err(Error::new(format!(
                    "cannot specify {kind}={id} mount option for rootless container: it is not mapped"
                )));
            }
        }
    }
    Ok(())
}

/// set_mempolicy(2); numbers from linux/mempolicy.h.
pub fn memory_policy(policy: &LinuxMemoryPolicy) -> Result<Step> {
    let mode = match policy.mode() {
        MemoryPolicyModeType::MpolDefault => 0,
        MemoryPolicyModeType::MpolPreferred => 1,
        MemoryPolicyModeType::MpolBind => 2,
        MemoryPolicyModeType::MpolInterleave => 3,
        MemoryPolicyModeType::MpolLocal => 4,
        MemoryPolicyModeType::MpolPreferredMany => 5,
        MemoryPolicyModeType::MpolWeightedInterleave => 6,
    };
    let flag = |f: &MemoryPolicyFlagType| match f {
        MemoryPolicyFlagType::MpolFStaticNodes => 1 << 15,
        MemoryPolicyFlagType::MpolFRelativeNodes => 1 << 14,
        MemoryPolicyFlagType::MpolFNumaBalancing => 1 << 13,
    };
    let flags = policy.flags().iter().flatten().map(flag).fold(0, |all: i32, f| all | f);
    let list = policy.nodes().as_deref().unwrap_or_default();
    let nodes = number_list(list)
        .map_err(|e| Error::new(format!("linux.memoryPolicy: invalid memory policy nodes {list:?}: {e}")))?;
    check_nodes(policy.mode(), nodes.len())?;
    Ok(Step::MemoryPolicy { mode: mode | flags, nodes })
}

/// The kernel's answer would not say what is wrong.
fn check_nodes(mode: MemoryPolicyModeType, count: usize) -> Result<()> {
    use MemoryPolicyModeType as Mode;
    let reason = match mode {
        Mode::MpolDefault | Mode::MpolLocal if count != 0 => {
            format!("memory policy mode requires 0 nodes but got {count}")
        }
        Mode::MpolBind | Mode::MpolInterleave | Mode::MpolPreferredMany | Mode::MpolWeightedInterleave
            if count == 0 =>
        {
            "memory policy mode requires at least one node but got 0".to_owned()
        }
        _ => return Ok(()),
    };
    Err(Error::new(format!("linux.memoryPolicy {mode}: {reason}")))
}

/// personality(2).
pub fn personality(personality: &LinuxPersonality) -> Step {
    Step::Personality(match personality.domain() {
        LinuxPersonalityDomain::PerLinux => 0,
        LinuxPersonalityDomain::PerLinux32 => PER_LINUX32,
    })
}
