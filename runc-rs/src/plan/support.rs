//! What of config.json is carried out. A legal field that is not must be refused by its name, never passed over.

use oci::runtime::{
    LinuxMemoryPolicy, LinuxPersonality, LinuxPersonalityDomain, MemoryPolicyFlagType, MemoryPolicyModeType,
    Spec,
};

use super::Step;
use super::process::number_list;
use crate::error::{Error, Result};

const PER_LINUX32: u32 = 0x0008;

/// Refuses what is not carried out.
pub fn check(spec: &Spec) -> Result<()> {
    version(spec.version())?;
    let Some(linux) = spec.linux() else { return Ok(()) };
    if linux.intel_rdt().is_some() {
        return Err(Error::unsupported("linux.intelRdt"));
    }
    if linux.net_devices().as_ref().is_some_and(|d| !d.is_empty()) {
        return Err(Error::unsupported("linux.netDevices"));
    }
    if linux.mount_label().as_ref().is_some_and(|l| !l.is_empty()) {
        return Err(Error::unsupported("linux.mountLabel"));
    }
    Ok(())
}

/// Any release of the first major version is understood; fields that are not are refused one by one.
fn version(version: &str) -> Result<()> {
    match version.split('.').next() {
        Some("1") => Ok(()),
        _ => Err(Error::new(format!("unsupported ociVersion {version:?}"))),
    }
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
    let nodes = number_list(policy.nodes().as_deref().unwrap_or_default())?;
    Ok(Step::MemoryPolicy { mode: mode | flags, nodes })
}

/// personality(2).
pub fn personality(personality: &LinuxPersonality) -> Result<Step> {
    if personality.flags().as_ref().is_some_and(|f| !f.is_empty()) {
        return Err(Error::unsupported("linux.personality.flags"));
    }
    Ok(Step::Personality(match personality.domain() {
        LinuxPersonalityDomain::PerLinux => 0,
        LinuxPersonalityDomain::PerLinux32 => PER_LINUX32,
    }))
}
