//! What a container may: capabilities, seccomp, paths that are hidden.

use errors::{Error, Kind, Result, WithKind};
use serde_json::Value;

use super::SpecInput;
use crate::config::ContainerConfig;

/// Files that tell too much of the host.
const MASKED: &[&str] = &[
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

/// Files that would change the host.
const READ_ONLY: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// docker's `--security-opt`, understood.
#[derive(Debug, Default)]
pub struct Security {
    /// `no-new-privileges`.
    pub no_new_privileges: bool,
    privileged: bool,
    seccomp: Seccomp,
}

#[derive(Debug, Default)]
enum Seccomp {
    #[default]
    Default,
    Unconfined,
    Profile(String),
}

impl Security {
    /// Understands every option, or names the one that it does not.
    pub fn parse(config: &ContainerConfig) -> Result<Security> {
        let mut security = Security { privileged: config.privileged, ..Security::default() };
        for option in &config.security_opt {
            let (key, value) =
                option.split_once('=').or_else(|| option.split_once(':')).unwrap_or((option, ""));
            match (key, value) {
                ("no-new-privileges", "" | "true") => security.no_new_privileges = true,
                ("no-new-privileges", "false") => security.no_new_privileges = false,
                ("seccomp", "unconfined") => security.seccomp = Seccomp::Unconfined,
                ("seccomp", "builtin") => security.seccomp = Seccomp::Default,
                ("seccomp", profile) if profile.trim_start().starts_with('{') => {
                    security.seccomp = Seccomp::Profile(profile.to_owned());
                }
                // Without a security module there is nothing to confine with.
                ("apparmor", "unconfined") | ("label", "disable") => {}
                _ => return Err(Error::invalid(format!("invalid --security-opt: {option:?}"))),
            }
        }
        Ok(security)
    }

    /// `linux.maskedPaths`.
    pub fn masked_paths(&self) -> &'static [&'static str] {
        if self.privileged { &[] } else { MASKED }
    }

    /// `linux.readonlyPaths`.
    pub fn readonly_paths(&self) -> &'static [&'static str] {
        if self.privileged { &[] } else { READ_ONLY }
    }

    /// `linux.seccomp`; a profile of the person's own also for a privileged container.
    pub fn seccomp(
        &self,
        enabled: bool,
        capabilities: &[String],
        kernel: (u32, u32),
    ) -> Result<Option<Value>> {
        let target = oci::seccomp::Target { capabilities, arch: std::env::consts::ARCH, kernel };
        match &self.seccomp {
            Seccomp::Unconfined => Ok(None),
            Seccomp::Default if self.privileged || !enabled => Ok(None),
            Seccomp::Default => json(&oci::seccomp::default_profile(&target)).map(Some),
            Seccomp::Profile(text) => oci::seccomp::from_profile(text.as_bytes(), &target)
                .kind(Kind::InvalidArgument, || "Decoding seccomp profile failed")?
                .map(|profile| json(&profile))
                .transpose(),
        }
    }
}

fn json(profile: &oci::runtime::LinuxSeccomp) -> Result<Value> {
    serde_json::to_value(profile).kind(Kind::Internal, || "write a seccomp profile")
}

/// The capabilities of the first process, with docker's rules: dropped from, or added to, the default ones.
pub fn capabilities(input: &SpecInput<'_>) -> Result<Vec<String>> {
    let config = input.config;
    if config.privileged {
        return Ok(input.capabilities.to_vec());
    }
    let (add, drop) = (names(&config.cap_add)?, names(&config.cap_drop)?);
    let all = |list: &[String]| list.iter().any(|name| name == "ALL");
    let base: Vec<String> = match (all(&add), all(&drop)) {
        // What the daemon does not have, it cannot give.
        (true, _) => input.capabilities.to_vec(),
        (false, true) => Vec::new(),
        (false, false) => oci::capability::DEFAULT.iter().map(|name| name.to_string()).collect(),
    };
    let mut kept: Vec<String> = base.into_iter().filter(|name| !drop.contains(name)).collect();
    for name in add {
        if name != "ALL" && !kept.contains(&name) {
            kept.push(name);
        }
    }
    Ok(kept)
}

fn names(asked: &[String]) -> Result<Vec<String>> {
    asked.iter().map(|name| full_name(name)).collect()
}

fn full_name(name: &str) -> Result<String> {
    if name.trim().eq_ignore_ascii_case("ALL") {
        return Ok("ALL".to_owned());
    }
    let known = oci::capability::normalize(name.trim());
    known
        .map(str::to_owned)
        .ok_or_else(|| Error::invalid(format!("invalid capability: unknown capability: {name:?}")))
}
