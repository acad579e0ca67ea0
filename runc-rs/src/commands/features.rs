//! `features`: what is carried out, in the form of runtime-spec, features.md.

use std::collections::BTreeMap;
use std::str::FromStr;

use libseccomp::ScmpArch;
use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::PrettyFormatter;

use crate::cli::{Arity, Global, Matches, Verb};
use crate::error::{Error, Result};
use crate::out;
use crate::steps::seccomp::known_to_the_library;

/// The verb.
pub const VERB: Verb = Verb {
    name: "features",
    args: "",
    about: "show the enabled features",
    flags: &[],
    arity: Arity::Exact(0),
    flags_stop: false,
    run,
};

const HOOKS: &[&str] =
    &["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// Words of mount options, in order of the alphabet. Others go to the file system as they are.
const MOUNT_OPTIONS: &[&str] = &[
    "async",
    "atime",
    "bind",
    "defaults",
    "dev",
    "diratime",
    "dirsync",
    "exec",
    "idmap",
    "iversion",
    "lazytime",
    "loud",
    "mand",
    "noatime",
    "nodev",
    "nodiratime",
    "noexec",
    "noiversion",
    "nolazytime",
    "nomand",
    "norelatime",
    "nostrictatime",
    "nosuid",
    "nosymfollow",
    "private",
    "ratime",
    "rbind",
    "rdev",
    "rdiratime",
    "relatime",
    "remount",
    "rexec",
    "ridmap",
    "rnoatime",
    "rnodev",
    "rnodiratime",
    "rnoexec",
    "rnorelatime",
    "rnostrictatime",
    "rnosuid",
    "rnosymfollow",
    "ro",
    "rprivate",
    "rrelatime",
    "rro",
    "rrw",
    "rshared",
    "rslave",
    "rstrictatime",
    "rsuid",
    "rsymfollow",
    "runbindable",
    "rw",
    "shared",
    "silent",
    "slave",
    "strictatime",
    "suid",
    "symfollow",
    "sync",
    "tmpcopyup",
    "unbindable",
];

const NAMESPACES: &[&str] = &["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"];

const ACTIONS: &[&str] = &[
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_LOG",
    "SCMP_ACT_NOTIFY",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_TRAP",
];

const OPERATORS: &[&str] = &[
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_LE",
    "SCMP_CMP_LT",
    "SCMP_CMP_MASKED_EQ",
    "SCMP_CMP_NE",
];

/// Every architecture that config.json may name (config-linux.md, "Seccomp"); those that the library at hand knows are told.
const ARCHES: &[&str] = &[
    "SCMP_ARCH_AARCH64",
    "SCMP_ARCH_ARM",
    "SCMP_ARCH_LOONGARCH64",
    "SCMP_ARCH_M68K",
    "SCMP_ARCH_MIPS",
    "SCMP_ARCH_MIPS64",
    "SCMP_ARCH_MIPS64N32",
    "SCMP_ARCH_MIPSEL",
    "SCMP_ARCH_MIPSEL64",
    "SCMP_ARCH_MIPSEL64N32",
    "SCMP_ARCH_PARISC",
    "SCMP_ARCH_PARISC64",
    "SCMP_ARCH_PPC",
    "SCMP_ARCH_PPC64",
    "SCMP_ARCH_PPC64LE",
    "SCMP_ARCH_RISCV64",
    "SCMP_ARCH_S390",
    "SCMP_ARCH_S390X",
    "SCMP_ARCH_SH",
    "SCMP_ARCH_SHEB",
    "SCMP_ARCH_X32",
    "SCMP_ARCH_X86",
    "SCMP_ARCH_X86_64",
];

/// Flags of seccomp(2) by their names in config.json and their bits; thread synchronisation needs none here.
const SECCOMP_FLAGS: &[(&str, u32)] = &[
    ("SECCOMP_FILTER_FLAG_LOG", 1 << 1),
    ("SECCOMP_FILTER_FLAG_SPEC_ALLOW", 1 << 2),
    ("SECCOMP_FILTER_FLAG_TSYNC", 1 << 0),
    // Goes with a listener alone.
    ("SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", 1 << 5 | sys::seccomp::FLAG_NEW_LISTENER),
];

const POLICY_MODES: &[&str] = &[
    "MPOL_BIND",
    "MPOL_DEFAULT",
    "MPOL_INTERLEAVE",
    "MPOL_LOCAL",
    "MPOL_PREFERRED",
    "MPOL_PREFERRED_MANY",
    "MPOL_WEIGHTED_INTERLEAVE",
];

const POLICY_FLAGS: &[&str] = &["MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES"];

/// The release of runc whose behaviour this program's is compared with. Others than runc may name one (types/features of runc).
const RUNC_VERSION: &str = "1.5.2";

/// Annotations of config.json that change what happens on the host: the bundle's, which
/// `state` shows, properties of the systemd driver's unit, and a file that criu reads.
const UNSAFE_ANNOTATIONS: &[&str] = &["bundle", "org.systemd.property.", "org.criu.config"];

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Features {
    oci_version_min: &'static str,
    oci_version_max: &'static str,
    hooks: &'static [&'static str],
    mount_options: &'static [&'static str],
    linux: Linux,
    annotations: BTreeMap<&'static str, String>,
    potentially_unsafe_config_annotations: &'static [&'static str],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Linux {
    namespaces: &'static [&'static str],
    capabilities: &'static [&'static str],
    cgroup: Cgroup,
    seccomp: Seccomp,
    apparmor: Switch,
    selinux: Switch,
    intel_rdt: IntelRdt,
    memory_policy: MemoryPolicy,
    mount_extensions: MountExtensions,
    net_devices: Switch,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Cgroup {
    v1: bool,
    v2: bool,
    systemd: bool,
    systemd_user: bool,
    rdma: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Seccomp {
    enabled: bool,
    actions: &'static [&'static str],
    operators: &'static [&'static str],
    archs: Vec<&'static str>,
    known_flags: Vec<&'static str>,
    supported_flags: Vec<&'static str>,
}

#[derive(Serialize)]
struct MemoryPolicy {
    modes: &'static [&'static str],
    flags: &'static [&'static str],
}

#[derive(Serialize)]
struct MountExtensions {
    idmap: Switch,
}

#[derive(Serialize)]
struct IntelRdt {
    enabled: bool,
    schemata: bool,
    monitoring: bool,
}

#[derive(Serialize)]
struct Switch {
    enabled: bool,
}

fn run(_: &Global, _: &Matches) -> Result<i32> {
    out::line(&four_spaces(&features())?)?;
    Ok(0)
}

fn features() -> Features {
    let seccomp = libseccomp::ScmpVersion::current().ok().map(|version| version.to_string());
    let annotations = [
        ("io.github.seccomp.libseccomp.version", seccomp),
        ("org.opencontainers.runc.checkpoint.enabled", Some("true".to_owned())),
        ("org.opencontainers.runc.version", Some(RUNC_VERSION.to_owned())),
    ];
    Features {
        oci_version_min: "1.0.0",
        oci_version_max: oci::runtime::SPEC_VERSION,
        hooks: HOOKS,
        mount_options: MOUNT_OPTIONS,
        linux: linux(),
        annotations: annotations.into_iter().filter_map(|(key, value)| Some((key, value?))).collect(),
        potentially_unsafe_config_annotations: UNSAFE_ANNOTATIONS,
    }
}

fn linux() -> Linux {
    Linux {
        namespaces: NAMESPACES,
        capabilities: &oci::capability::ALL,
        cgroup: Cgroup { v1: true, v2: true, systemd: true, systemd_user: true, rdma: true },
        seccomp: seccomp(),
        apparmor: Switch { enabled: true },
        selinux: Switch { enabled: true },
        intel_rdt: IntelRdt { enabled: true, schemata: true, monitoring: true },
        memory_policy: MemoryPolicy { modes: POLICY_MODES, flags: POLICY_FLAGS },
        mount_extensions: MountExtensions { idmap: Switch { enabled: true } },
        net_devices: Switch { enabled: true },
    }
}

fn seccomp() -> Seccomp {
    let supported = SECCOMP_FLAGS.iter().filter(|(_, bits)| sys::seccomp::flags_available(*bits));
    Seccomp {
        enabled: true,
        actions: ACTIONS,
        operators: OPERATORS,
        archs: ARCHES.iter().copied().filter(|name| is_known(name)).collect(),
        known_flags: SECCOMP_FLAGS.iter().map(|(name, _)| *name).collect(),
        supported_flags: supported.map(|(name, _)| *name).collect(),
    }
}

fn is_known(arch: &str) -> bool {
    ScmpArch::from_str(arch).is_ok_and(known_to_the_library)
}

/// JSON indented by four spaces, as runc prints it.
fn four_spaces(value: &impl Serialize) -> Result<String> {
    let mut text = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut text, PrettyFormatter::with_indent(b"    "));
    value.serialize(&mut serializer).map_err(|e| Error::new(e.to_string()))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of config.md, "Linux mount options", runtime-spec 1.3.
    const TABLE: &str = "async atime bind defaults dev diratime dirsync exec iversion lazytime loud mand noatime nodev \
        nodiratime noexec noiversion nolazytime nomand norelatime nostrictatime nosuid nosymfollow private ratime rbind rdev \
        rdiratime relatime remount rexec rnoatime rnodiratime rnoexec rnorelatime rnostrictatime rnosuid rnosymfollow ro \
        rprivate rrelatime rro rrw rshared rslave rstrictatime rsuid rsymfollow runbindable rw shared silent slave \
        strictatime suid symfollow sync tmpcopyup unbindable idmap ridmap";

    #[test]
    fn the_mount_options_are_those_that_are_understood() {
        let understood = |word: &str| crate::plan::options::parse(&[word.to_owned()]).data.is_empty();
        for word in MOUNT_OPTIONS {
            assert!(understood(word), "{word}");
        }
        assert!(MOUNT_OPTIONS.is_sorted());
        for word in TABLE.split_whitespace() {
            assert!(MOUNT_OPTIONS.contains(&word), "{word}");
        }
        // Not one of them is understood in another sense, or in secret.
        for word in ["acl", "noacl", "nofail", "user", "auto", "mode=755", "rnodev ", "rrbind", "rbind,ro"] {
            assert!(!understood(word), "{word}");
        }
    }

    fn compiles(document: &str) -> bool {
        crate::steps::seccomp::compile(&serde_json::from_str(document).unwrap()).is_ok()
    }

    #[test]
    fn what_is_claimed_compiles() {
        for action in ACTIONS {
            let rule = format!(r#"{{"names":["read"],"action":"{action}"}}"#);
            let listener = r#""listenerPath":"/s""#;
            let document = format!(r#"{{"defaultAction":"SCMP_ACT_ERRNO",{listener},"syscalls":[{rule}]}}"#);
            assert!(compiles(&document), "{action}");
        }
        for op in OPERATORS {
            let rule = format!(
                r#"{{"names":["read"],"action":"SCMP_ACT_ERRNO","args":[{{"index":0,"value":1,"op":"{op}"}}]}}"#
            );
            assert!(
                compiles(&format!(r#"{{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{rule}]}}"#)),
                "{op}"
            );
        }
        for (flag, _) in SECCOMP_FLAGS {
            assert!(
                compiles(&format!(r#"{{"defaultAction":"SCMP_ACT_ALLOW","flags":["{flag}"]}}"#)),
                "{flag}"
            );
        }
    }

    #[test]
    fn architectures_are_those_of_config_json_that_the_library_knows() {
        let told = seccomp().archs;
        assert!(ARCHES.is_sorted() && told.is_sorted());
        for arch in ARCHES {
            let document = format!(r#"{{"defaultAction":"SCMP_ACT_ALLOW","architectures":["{arch}"]}}"#);
            let spec = format!(r#"{{"linux":{{"seccomp":{document}}}}}"#);
            oci::runtime::parse(spec.as_bytes()).unwrap();
            let error = crate::steps::seccomp::compile(&serde_json::from_str(&document).unwrap());
            let text = error.map_or_else(|e| e.to_string(), |_| String::new());
            match told.contains(arch) {
                // Others than this machine's may have another order of bytes.
                true => assert!(text.is_empty() || text.contains("cannot be filtered together"), "{text}"),
                false => {
                    assert!(text.contains(arch) && text.contains("not supported by libseccomp"), "{text}")
                }
            }
        }
        for sure in ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64", "SCMP_ARCH_PARISC64", "SCMP_ARCH_RISCV64"] {
            assert!(told.contains(&sure), "{sure}");
        }
    }

    #[test]
    fn words_are_those_of_config_json() {
        let takes = |text: String| assert!(oci::runtime::parse(text.as_bytes()).is_ok(), "{text}");
        for kind in NAMESPACES {
            takes(format!(r#"{{"linux":{{"namespaces":[{{"type":"{kind}"}}]}}}}"#));
        }
        for mode in POLICY_MODES {
            takes(format!(r#"{{"linux":{{"memoryPolicy":{{"mode":"{mode}"}}}}}}"#));
        }
        for flag in POLICY_FLAGS {
            takes(format!(r#"{{"linux":{{"memoryPolicy":{{"mode":"MPOL_BIND","flags":["{flag}"]}}}}}}"#));
        }
        for hook in HOOKS {
            let spec = format!(r#"{{"hooks":{{"{hook}":[{{"path":"/x"}}]}}}}"#);
            let spec = oci::runtime::parse(spec.as_bytes()).unwrap();
            let known = serde_json::to_value(spec.hooks()).unwrap();
            assert_eq!(known[hook][0]["path"], "/x", "{hook}");
        }
        for name in oci::capability::ALL {
            let spec = format!(r#"{{"process":{{"capabilities":{{"bounding":["{name}"]}}}}}}"#);
            assert!(
                oci::runtime::parse_with_warnings(spec.as_bytes()).unwrap().warnings.is_empty(),
                "{name}"
            );
        }
    }

    /// Beside the peers' own lists, which have grown in step with the specification.
    #[test]
    fn nothing_that_runc_tells_is_missing() {
        let Ok(output) = std::process::Command::new("runc").arg("features").output() else {
            eprintln!("no runc: skipped");
            return;
        };
        let theirs: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let ours = serde_json::to_value(features()).unwrap();
        fn compare(path: &str, theirs: &serde_json::Value, ours: &serde_json::Value) {
            match theirs {
                serde_json::Value::Object(map) => {
                    // Not every library is of the same release.
                    for (key, value) in map.iter().filter(|(key, _)| !key.contains('.')) {
                        compare(&format!("{path}/{key}"), value, &ours[key]);
                    }
                }
                serde_json::Value::Array(items) => {
                    let known = ours.as_array().unwrap();
                    // Up to 1.1 it took two words for flags that the kernel does not take from anybody.
                    let gone = |item: &&serde_json::Value| **item == "acl" || **item == "noacl";
                    items
                        .iter()
                        .filter(|item| !gone(item))
                        .for_each(|item| assert!(known.contains(item), "{path}: {item}"));
                }
                value if path.starts_with("/ociVersion") => assert!(ours.is_string() && value.is_string()),
                value => assert_eq!(ours, value, "{path}"),
            }
        }
        compare("", &theirs, &ours);
    }

    #[test]
    fn the_top_keys_are_runcs() {
        let text = four_spaces(&features()).unwrap();
        assert!(text.starts_with("{\n    \"ociVersionMin\": \"1.0.0\",\n    \"ociVersionMax\": "));
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["linux"]["cgroup"]["systemd"], true);
        assert_eq!(value["linux"]["capabilities"].as_array().unwrap().len(), 41);
    }
}
