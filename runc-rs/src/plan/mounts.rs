//! The mounts of a container, checked and ordered (config.md, "Mounts").

use std::path::{Path, PathBuf};

use oci::runtime::{LinuxIdMapping, Mount as SpecMount, Spec};
use serde::{Deserialize, Serialize};

use super::options::{self, Options};
use crate::error::{Error, Result};
use crate::root;

/// A mount inside the container's root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where: absolute and clean, inside the root.
    pub destination: PathBuf,
    /// What.
    pub source: Source,
    /// How.
    pub options: Options,
    /// Mounted writable, and made read-only when the root is complete: the runtime still puts files into it.
    pub late_readonly: bool,
    /// Id mapping of this mount, if it has one: (user mappings, group mappings).
    pub id_maps: Option<(Vec<IdMap>, Vec<IdMap>)>,
    /// The SELinux label of everything in a new file system (`linux.mountLabel`); empty for none.
    pub label: String,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file or directory of the host.
    Bind {
        /// Absolute path.
        path: PathBuf,
        /// With what is mounted below it.
        recursive: bool,
    },
    /// A new file system.
    Filesystem {
        /// Its type.
        fstype: String,
        /// Its source, as the type understands it.
        source: Option<String>,
    },
    /// The container's view of the cgroup hierarchies, whichever version the host has.
    Cgroup,
    /// Nothing new: other flags for what is mounted there.
    Remount,
}

/// A range of user or group ids (config-linux.md, "User namespace mappings").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMap {
    /// First id in the container.
    #[serde(rename = "container_id")]
    pub container: u32,
    /// First id on the host.
    #[serde(rename = "host_id")]
    pub host: u32,
    /// How many.
    pub size: u32,
}

impl IdMap {
    /// The ranges of a list of config.json.
    pub fn all(list: Option<&Vec<LinuxIdMapping>>) -> Vec<IdMap> {
        let one =
            |m: &LinuxIdMapping| IdMap { container: m.container_id(), host: m.host_id(), size: m.size() };
        list.into_iter().flatten().map(one).collect()
    }

    /// The lines of /proc/PID/uid_map (user_namespaces(7)).
    pub fn lines(all: &[IdMap]) -> String {
        all.iter().map(|m| format!("{} {} {}\n", m.container, m.host, m.size)).collect()
    }

    /// Reads such lines.
    pub fn parse(lines: &str) -> Result<Vec<IdMap>> {
        let one = |line: &str| {
            let numbers: Vec<u32> = line.split_whitespace().map_while(|word| word.parse().ok()).collect();
            match *numbers.as_slice() {
                [container, host, size] => Ok(IdMap { container, host, size }),
                _ => Err(Error::new(format!("no id mapping: {line:?}"))),
            }
        };
        lines.lines().map(one).collect()
    }
}

/// Files below /proc that may be mounted over: what lxcfs provides, and two that sandboxes fake.
const PROC_FILES: &[&str] = &[
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/net/dev",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
];

/// Reads `mounts`; a relative source of a bind mount lies in the bundle.
pub fn from_spec(spec: &Spec, bundle: &Path) -> Result<Vec<Mount>> {
    let listed = spec.mounts().as_ref().into_iter().flatten();
    let label = spec.linux().as_ref().and_then(|l| l.mount_label().clone()).unwrap_or_default();
    let mut all: Vec<Mount> = listed.map(|m| mount(m, bundle)).collect::<Result<_>>()?;
    all.iter_mut().filter(|m| m.takes_label()).for_each(|m| m.label.clone_from(&label));
    fill_id_maps(&mut all, spec)?;
    Ok(all)
}

/// File systems that the kernel's policy labels by itself.
const UNLABELLED: &[&str] = &["proc", "sysfs"];

impl Mount {
    fn takes_label(&self) -> bool {
        match &self.source {
            Source::Filesystem { fstype, .. } => !UNLABELLED.contains(&fstype.as_str()),
            // The directory of version 1's hierarchies is a new one.
            Source::Cgroup => true,
            Source::Bind { .. } | Source::Remount => false,
        }
    }
}

/// Whether the runtime fills /dev: unless the host's, or another ready one, is bound there.
pub fn fills_dev(mounts: &[Mount]) -> bool {
    !mounts.iter().any(|m| m.destination == Path::new("/dev") && matches!(m.source, Source::Bind { .. }))
}

fn mount(m: &SpecMount, bundle: &Path) -> Result<Mount> {
    let options = options::parse(m.options().as_deref().unwrap_or_default());
    let destination = root::clean(m.destination());
    let fstype = m.typ().clone().unwrap_or_default();
    let source = source(m, &options, &fstype, bundle)?;
    check_proc(&destination, &source)?;
    if destination == Path::new("/") && !matches!(source, Source::Remount) {
        // It would cover the root, and be out of sight of all that stand in it already.
        return Err(Error::new(format!("mount destination {:?} is the root itself", m.destination())));
    }
    if matches!(source, Source::Bind { .. }) && !options.data.is_empty() {
        // The file system is mounted already, and the kernel would not even look at them.
        let (at, data) = (m.destination().display(), options.data.join(","));
        let reason = "bind mounts cannot have any filesystem-specific options applied";
        return Err(Error::new(format!("invalid mount {at} with options {data:?}: {reason}")));
    }
    let id_maps = id_maps(m, &options, &source, &destination)?;
    let tmpfs = matches!(&source, Source::Filesystem { fstype, .. } if fstype == "tmpfs");
    let late_readonly = options.attr.set & sys::mount::RDONLY != 0
        && (tmpfs || (destination == Path::new("/dev") && matches!(source, Source::Filesystem { .. })));
    Ok(Mount { destination, source, options, late_readonly, id_maps, label: String::new() })
}

fn source(m: &SpecMount, options: &Options, fstype: &str, bundle: &Path) -> Result<Source> {
    let given = m.source().as_ref().filter(|s| !s.as_os_str().is_empty());
    if options.remount {
        return Ok(Source::Remount);
    }
    if options.bind.is_some() || fstype == "bind" {
        let path = given.ok_or_else(|| {
            Error::new(format!("mount {}: a bind mount needs a source", m.destination().display()))
        })?;
        let recursive = options.bind.unwrap_or(false);
        return Ok(Source::Bind { path: bundle.join(path), recursive });
    }
    match fstype {
        "" => Err(Error::new(format!("mount {}: no type given", m.destination().display()))),
        "cgroup" | "cgroup2" => Ok(Source::Cgroup),
        fstype => {
            let source = given.map(|s| s.to_string_lossy().into_owned());
            Ok(Source::Filesystem { fstype: fstype.to_owned(), source })
        }
    }
}

fn id_maps(
    m: &SpecMount,
    options: &Options,
    source: &Source,
    destination: &Path,
) -> Result<Option<(Vec<IdMap>, Vec<IdMap>)>> {
    let (uids, gids) = (IdMap::all(m.uid_mappings().as_ref()), IdMap::all(m.gid_mappings().as_ref()));
    if uids.is_empty() && gids.is_empty() && options.idmap.is_none() {
        return Ok(None);
    }
    let at = destination.display();
    if !matches!(source, Source::Bind { .. }) {
        return Err(Error::new(format!("mount {at}: only bind mounts can be id-mapped")));
    }
    match (uids.is_empty(), gids.is_empty()) {
        (false, false) => Ok(Some((uids, gids))),
        // The container's own, which is filled in where it is known.
        (true, true) => Ok(Some((uids, gids))),
        _ => Err(Error::new(format!("mount {at}: id-mapping needs uidMappings and gidMappings, or neither"))),
    }
}

/// Gives mounts that are to be id-mapped, without saying how, the mapping of the container's own user namespace
/// (config.md, "idmap").
fn fill_id_maps(all: &mut [Mount], spec: &Spec) -> Result<()> {
    let linux = spec.linux().as_ref();
    let uids = IdMap::all(linux.and_then(|l| l.uid_mappings().as_ref()));
    let gids = IdMap::all(linux.and_then(|l| l.gid_mappings().as_ref()));
    for mount in all {
        let open = matches!(&mount.id_maps, Some((u, g)) if u.is_empty() && g.is_empty());
        if !open {
            continue;
        }
        if uids.is_empty() || gids.is_empty() {
            return Err(Error::new(format!(
                "mount {}: id-mapping needs mappings of the mount, or a user namespace of the container's",
                mount.destination.display()
            )));
        }
        mount.id_maps = Some((uids.clone(), gids.clone()));
    }
    Ok(())
}

/// Nothing may cover a part of /proc, or what a program reads there could be a lie (CVE-2019-16884).
pub fn check_proc(destination: &Path, source: &Source) -> Result<()> {
    let Ok(below) = destination.strip_prefix("/proc") else { return Ok(()) };
    if below.as_os_str().is_empty() {
        return match source {
            Source::Filesystem { fstype, .. } if fstype == "proc" => Ok(()),
            // A bind mount there must turn out to be a procfs, which the step checks.
            Source::Bind { .. } | Source::Remount => Ok(()),
            _ => Err(Error::new("\"/proc\" cannot be mounted because it is not of type proc")),
        };
    }
    if PROC_FILES.iter().any(|f| Path::new(f) == destination) {
        return Ok(());
    }
    Err(Error::new(format!(
        "{:?} cannot be mounted because it is inside /proc",
        destination.display().to_string()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(json: &str) -> Result<Mount> {
        mount(&serde_json::from_str(json).unwrap(), Path::new("/bundle"))
    }

    #[test]
    fn kinds_of_source() {
        let bind = parsed(r#"{"destination":"/a/../b/","source":"data","options":["rbind","ro"]}"#).unwrap();
        assert_eq!(bind.destination, Path::new("/b"));
        assert_eq!(bind.source, Source::Bind { path: "/bundle/data".into(), recursive: true });
        assert!(!bind.late_readonly);
        let dev =
            parsed(r#"{"destination":"/dev","type":"tmpfs","source":"tmpfs","options":["ro","mode=755"]}"#)
                .unwrap();
        assert!(dev.late_readonly);
        assert!(fills_dev(&[dev]));
        let cgroup = parsed(r#"{"destination":"/sys/fs/cgroup","type":"cgroup","options":["ro"]}"#).unwrap();
        assert_eq!(cgroup.source, Source::Cgroup);
    }

    #[test]
    fn proc_is_not_covered() {
        let text = |json: &str| parsed(json).unwrap_err().to_string();
        assert_eq!(
            text(r#"{"destination":"/proc/self/attr","type":"tmpfs"}"#),
            "\"/proc/self/attr\" cannot be mounted because it is inside /proc"
        );
        assert!(text(r#"{"destination":"/x/../proc","type":"tmpfs"}"#).contains("not of type proc"));
        assert!(parsed(r#"{"destination":"/proc/uptime","source":"/u","options":["bind"]}"#).is_ok());
        assert!(parsed(r#"{"destination":"/proc","type":"proc"}"#).is_ok());
    }

    #[test]
    fn errors_name_the_mount() {
        assert!(parsed(r#"{"destination":"/x"}"#).unwrap_err().to_string().contains("/x"));
        assert!(parsed(r#"{"destination":"/y","type":"bind"}"#).unwrap_err().to_string().contains("/y"));
        let json = r#"{"destination":"/z","source":"/z","options":["bind","idmap"]}"#;
        let mut all = [parsed(json).unwrap()];
        let e =
            fill_id_maps(&mut all, &serde_json::from_str(r#"{"ociVersion":"1.0.0"}"#).unwrap()).unwrap_err();
        assert!(e.to_string().contains("/z"), "{e}");
        let half = r#"{"destination":"/z","source":"/z","uidMappings":[{"containerID":0,"hostID":1,"size":1}],
            "options":["bind"]}"#;
        assert!(parsed(half).unwrap_err().to_string().contains("or neither"));
        for option in ["size=5m", "acl", "nofail"] {
            let json = format!(r#"{{"destination":"/z","source":"/z","options":["rbind","{option}"]}}"#);
            let text = parsed(&json).unwrap_err().to_string();
            assert!(text.contains("/z") && text.contains(option), "{text}");
            assert!(text.contains("bind mounts cannot have any filesystem-specific options"), "{text}");
        }
    }

    #[test]
    fn a_mount_takes_the_container_s_own_mapping() {
        let spec = serde_json::from_str(
            r#"{"ociVersion":"1.0.0","mounts":[{"destination":"/z","source":"/z","options":["rbind","ridmap"]}],
                "linux":{"uidMappings":[{"containerID":0,"hostID":1000,"size":5}],
                         "gidMappings":[{"containerID":0,"hostID":2000,"size":5}]}}"#,
        );
        let all = from_spec(&spec.unwrap(), Path::new("/b")).unwrap();
        let (uids, gids) = all[0].id_maps.clone().unwrap();
        assert_eq!((uids[0].host, gids[0].host), (1000, 2000));
        assert_eq!(all[0].options.idmap, Some(true));
    }

    #[test]
    fn id_map_lines() {
        let maps =
            [IdMap { container: 0, host: 1000, size: 10 }, IdMap { container: 10, host: 5000, size: 1 }];
        assert_eq!(IdMap::lines(&maps), "0 1000 10\n10 5000 1\n");
        let text = "         0       1000         10\n        10       5000          1\n";
        assert_eq!(IdMap::parse(text).unwrap(), maps);
        assert!(IdMap::parse("0 1\n").unwrap_err().to_string().contains("0 1"));
    }
}
