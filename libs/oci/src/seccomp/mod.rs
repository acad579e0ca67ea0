//! Seccomp profiles: the default one, and docker's profile documents, made into config.json's `linux.seccomp`.

mod profile;
mod table;

use serde_json::{Value, json};

pub use profile::from_profile;
use table::{Arg, GROUPS, Group, SUB_ARCHES};

use crate::runtime::LinuxSeccomp;

/// For whom a profile is made.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The container's bounding set, as full names.
    pub capabilities: &'a [String],
    /// The machine's architecture, as Rust spells it ([`std::env::consts::ARCH`]).
    pub arch: &'a str,
    /// Release of the running kernel, major and minor.
    pub kernel: (u32, u32),
}

impl Target<'_> {
    fn has(&self, capability: &str) -> bool {
        self.capabilities.iter().any(|name| name == capability)
    }

    /// The architecture by docker's name and by libseccomp's.
    fn names(&self) -> Option<(&'static str, &'static str)> {
        ARCHES.iter().find(|(rust, ..)| *rust == self.arch).map(|(_, docker, scmp)| (*docker, *scmp))
    }
}

/// Rust's, docker's and libseccomp's names of architectures.
const ARCHES: &[(&str, &str, &str)] = &[
    ("x86", "x86", "SCMP_ARCH_X86"),
    ("x86_64", "amd64", "SCMP_ARCH_X86_64"),
    ("arm", "arm", "SCMP_ARCH_ARM"),
    ("aarch64", "arm64", "SCMP_ARCH_AARCH64"),
    ("loongarch64", "loong64", "SCMP_ARCH_LOONGARCH64"),
    ("powerpc64", "ppc64le", "SCMP_ARCH_PPC64LE"),
    ("riscv64", "riscv64", "SCMP_ARCH_RISCV64"),
    ("s390x", "s390x", "SCMP_ARCH_S390X"),
];

/// The profile of a container that asks for none: what docker's and containerd's default ones allow.
pub fn default_profile(target: &Target<'_>) -> LinuxSeccomp {
    let arches: Vec<&str> = target.names().map(|(_, scmp)| arches_of(scmp)).unwrap_or_default();
    let syscalls: Vec<Value> = GROUPS.iter().filter(|group| applies(group, target)).map(rule).collect();
    let document = json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "architectures": arches,
        "syscalls": syscalls,
    });
    // Tests hold the table to be of the right form.
    serde_json::from_value(document).unwrap_or_default()
}

/// A native architecture and those whose programs it runs besides.
fn arches_of(scmp: &'static str) -> Vec<&'static str> {
    let sub = SUB_ARCHES.iter().find(|(native, _)| *native == scmp).map(|(_, sub)| *sub).unwrap_or_default();
    std::iter::once(scmp).chain(sub.iter().copied()).collect()
}

fn applies(group: &Group, target: &Target<'_>) -> bool {
    let arch = target.names().map(|(docker, _)| docker).unwrap_or_default();
    (group.arches.is_empty() || group.arches.contains(&arch))
        && !group.not_arches.contains(&arch)
        && (group.cap.is_empty() || target.has(group.cap))
        && (group.not_cap.is_empty() || !target.has(group.not_cap))
        && target.kernel >= group.kernel
}

fn rule(group: &Group) -> Value {
    let mut rule = json!({ "names": group.names, "action": "SCMP_ACT_ALLOW" });
    if group.errno != 0 {
        rule["action"] = "SCMP_ACT_ERRNO".into();
        rule["errnoRet"] = group.errno.into();
    }
    let arg = match group.arg {
        Arg::Any => return rule,
        Arg::Less(index, value) => json!({ "index": index, "value": value, "op": "SCMP_CMP_LT" }),
        Arg::Equal(index, value) => json!({ "index": index, "value": value, "op": "SCMP_CMP_EQ" }),
        Arg::Greater(index, value) => json!({ "index": index, "value": value, "op": "SCMP_CMP_GT" }),
        Arg::NoneOf(index, mask) => {
            json!({ "index": index, "value": mask, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ" })
        }
    };
    rule["args"] = json!([arg]);
    rule
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(capabilities: &[String]) -> Target<'_> {
        Target { capabilities, arch: "x86_64", kernel: (5, 10) }
    }

    fn names(seccomp: &LinuxSeccomp) -> Vec<&str> {
        seccomp.syscalls().iter().flatten().flat_map(|s| s.names()).map(String::as_str).collect()
    }

    #[test]
    fn capabilities_open_system_calls() {
        let plain = default_profile(&target(&[]));
        assert!(names(&plain).contains(&"read") && !names(&plain).contains(&"mount"));
        let caps = ["CAP_SYS_ADMIN".to_owned()];
        let admin = default_profile(&target(&caps));
        assert!(names(&admin).contains(&"mount"));
        assert_eq!(plain.architectures().as_ref().unwrap().len(), 3);
        assert_eq!(plain.default_errno_ret(), Some(1));
    }

    #[test]
    fn clone3_is_not_there_without_the_capability() {
        let profile = default_profile(&target(&[]));
        let rule =
            profile.syscalls().iter().flatten().find(|s| s.names().iter().any(|n| n == "clone3")).unwrap();
        assert_eq!(rule.errno_ret(), Some(38));
    }

    #[test]
    fn kernels_and_architectures_matter() {
        let old = Target { capabilities: &[], arch: "x86_64", kernel: (4, 4) };
        assert!(!names(&default_profile(&old)).contains(&"ptrace"));
        assert!(names(&default_profile(&target(&[]))).contains(&"ptrace"));
        let arm = Target { capabilities: &[], arch: "aarch64", kernel: (5, 10) };
        assert!(!names(&default_profile(&arm)).contains(&"arch_prctl"));
        assert!(names(&default_profile(&target(&[]))).contains(&"arch_prctl"));
    }
}
