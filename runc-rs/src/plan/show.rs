//! Steps in words, for people who read a plan.

use std::fmt::{self, Display, Formatter};

use sys::mount::{
    ATIME, MountAttr, NOATIME, NODEV, NODIRATIME, NOEXEC, NOSUID, NOSYMFOLLOW, RDONLY, STRICTATIME,
};

use super::devices::Device;
use super::mounts::{IdMap, Mount, Source};
use super::options::Propagation;
use super::step::Step;

impl Display for Step {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Step::Mount(mount) => write!(f, "mount {mount}")?,
            Step::BindRoot { propagation } => {
                write!(f, "make the host's mounts {propagation}, and the root a mount")?
            }
            Step::RootPropagation(propagation) => write!(f, "make the root {propagation}")?,
            Step::Device(device) => write!(f, "make device {device}")?,
            Step::BindDevice(device) => write!(f, "bind device {}", device.path.display())?,
            Step::Symlink { target, path } => write!(f, "link {} to {target}", path.display())?,
            Step::ReadonlyMount(path) => write!(f, "make the mount {} read-only", path.display())?,
            Step::ReadonlyPath(path) => write!(f, "make {} read-only", path.display())?,
            Step::MaskedPaths { paths, .. } => {
                let paths: Vec<_> = paths.iter().map(|p| p.display().to_string()).collect();
                write!(f, "hide {}", paths.join(" "))?;
            }
            Step::WorkingDirectory(path) => write!(f, "make the directory {}", path.display())?,
            Step::Sysctl { path, value } => write!(f, "write {value:?} to /proc/sys/{path}")?,
            // The rest is short, and says itself what it is.
            other => write!(f, "{other:?}")?,
        }
        write!(f, " [{}]", self.clause())
    }
}

impl Display for Mount {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.source {
            Source::Bind { path, recursive } => {
                write!(f, "{} ({})", path.display(), if *recursive { "rbind" } else { "bind" })?;
            }
            Source::Filesystem { fstype, .. } => write!(f, "a new {fstype}")?,
            Source::Cgroup => write!(f, "the cgroups")?,
            Source::Remount => write!(f, "what is there again")?,
        }
        write!(f, " on {}", self.destination.display())?;
        let options = &self.options;
        let mut words = words(options.attr, "");
        words.extend(self::words(options.recursive_attr, "r"));
        words.extend(options.superblock.iter().map(|word| (*word).to_owned()));
        words.extend(options.data.iter().cloned());
        words.extend(options.propagation.iter().map(ToString::to_string));
        words.extend(options.copy_up.then(|| "tmpcopyup".to_owned()));
        words.extend(self.late_readonly.then(|| "read-only at the end".to_owned()));
        if let Some((uids, gids)) = &self.id_maps {
            let ranges = |maps: &[IdMap]| IdMap::lines(maps).trim_end().replace('\n', ", ");
            words.push(format!("users {}; groups {}", ranges(uids), ranges(gids)));
        }
        if words.is_empty() { Ok(()) } else { write!(f, ": {}", words.join(",")) }
    }
}

/// The words of mount options that stand for flags.
fn words(attr: MountAttr, prefix: &str) -> Vec<String> {
    let names = [
        (RDONLY, "ro", "rw"),
        (NOSUID, "nosuid", "suid"),
        (NODEV, "nodev", "dev"),
        (NOEXEC, "noexec", "exec"),
        (NODIRATIME, "nodiratime", "diratime"),
        (NOSYMFOLLOW, "nosymfollow", "symfollow"),
    ];
    let on = names.iter().filter(|(bit, ..)| attr.set & bit != 0).map(|(_, on, _)| *on);
    let off = names.iter().filter(|(bit, ..)| attr.clear & bit != 0).map(|(.., off)| *off);
    let time = match (attr.set & ATIME, attr.clear & ATIME) {
        (NOATIME, _) => Some("noatime"),
        (STRICTATIME, _) => Some("strictatime"),
        (_, ATIME) => Some("relatime"),
        _ => None,
    };
    on.chain(off).chain(time).map(|word| format!("{prefix}{word}")).collect()
}

impl Display for Device {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Device { path, kind, major, minor, mode, uid, gid } = self;
        write!(f, "{} ({kind:?} {major}:{minor}, mode {mode:o}, owner {uid}:{gid})", path.display())
    }
}

impl Display for Propagation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let word = match self.flag >> 17 {
            1 => "unbindable",
            2 => "private",
            4 => "slave",
            _ => "shared",
        };
        write!(f, "{}{word}", if self.recursive { "r" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::mounts::from_spec;

    fn shown(json: &str) -> String {
        let text = format!(r#"{{"ociVersion":"1.0.0","mounts":[{json}]}}"#);
        from_spec(&serde_json::from_str(&text).unwrap(), Path::new("/b")).unwrap()[0].to_string()
    }

    #[test]
    fn mounts_in_words() {
        for (json, want) in [
            (
                r#"{"destination":"/data","source":"d","options":["rbind","ro","noexec","rprivate","rnodev"]}"#,
                "/b/d (rbind) on /data: ro,noexec,rnodev,rprivate",
            ),
            (
                r#"{"destination":"/tmp","type":"tmpfs","options":["strictatime","mode=755","tmpcopyup","sync"]}"#,
                "a new tmpfs on /tmp: strictatime,sync,mode=755,tmpcopyup",
            ),
            (r#"{"destination":"/proc","type":"proc"}"#, "a new proc on /proc"),
        ] {
            assert_eq!(shown(json), want);
        }
    }
}
