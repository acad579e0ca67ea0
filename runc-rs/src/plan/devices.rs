//! Device nodes and symbolic links below /dev (config-linux.md, "Devices" and "Default Devices").

use std::path::{Path, PathBuf};

use oci::runtime::{LinuxDeviceType, Spec};
use rustix::fs::FileType;

use crate::error::{Error, Result};
use crate::root;

/// A device node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Where, inside the root.
    pub path: PathBuf,
    /// Character, block or FIFO.
    pub kind: FileType,
    /// Upper half of its number.
    pub major: u32,
    /// Lower half.
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    /// Owner in the container.
    pub uid: u32,
    /// Group in the container.
    pub gid: u32,
}

/// Links that programs expect (runtime-linux.md, "Dev symbolic links").
pub const LINKS: &[(&str, &str)] = &[
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
    ("/proc/kcore", "/dev/core"),
    ("pts/ptmx", "/dev/ptmx"),
];

/// The six that every container has; ptmx is a link, and console is made with the terminal.
const DEFAULTS: &[(&str, u32, u32)] = &[
    ("/dev/null", 1, 3),
    ("/dev/random", 1, 8),
    ("/dev/full", 1, 7),
    ("/dev/tty", 5, 0),
    ("/dev/zero", 1, 5),
    ("/dev/urandom", 1, 9),
];

/// Reads `linux.devices`, and adds the default ones that it does not name.
pub fn from_spec(spec: &Spec) -> Result<Vec<Device>> {
    let mut all = Vec::new();
    let listed = spec.linux().as_ref().and_then(|l| l.devices().as_ref());
    for device in listed.into_iter().flatten() {
        let kind = match device.typ() {
            LinuxDeviceType::B => FileType::BlockDevice,
            LinuxDeviceType::C | LinuxDeviceType::U => FileType::CharacterDevice,
            LinuxDeviceType::P => FileType::Fifo,
            LinuxDeviceType::A => {
                let path = device.path().display();
                return Err(Error::new(format!("linux.devices {path}: invalid device type \"a\"")));
            }
        };
        let number = |n: i64| {
            u32::try_from(n)
                .map_err(|_| Error::new(format!("invalid number {n} of device {}", device.path().display())))
        };
        all.push(Device {
            path: root::clean(device.path()),
            kind,
            major: number(device.major())?,
            minor: number(device.minor())?,
            mode: device.file_mode().unwrap_or(0o666) & 0o7777,
            uid: device.uid().unwrap_or(0),
            gid: device.gid().unwrap_or(0),
        });
    }
    for &(path, major, minor) in DEFAULTS {
        if !all.iter().any(|d| d.path == Path::new(path)) {
            let (path, kind) = (path.into(), FileType::CharacterDevice);
            all.push(Device { path, kind, major, minor, mode: 0o666, uid: 0, gid: 0 });
        }
    }
    all.retain(|d| d.path != Path::new("/dev/ptmx") && d.path != Path::new("/dev/console"));
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn devices(json: &str) -> Result<Vec<Device>> {
        let text = format!(r#"{{"ociVersion":"1.0.0","linux":{{"devices":{json}}}}}"#);
        from_spec(&serde_json::from_str(&text).unwrap())
    }

    #[test]
    fn defaults_are_added_once() {
        let all = devices(
            r#"[{"path":"/dev/null","type":"c","major":1,"minor":3,"fileMode":384},
                {"path":"/dev/fuse","type":"c","major":10,"minor":229,"fileMode":438,"uid":5,"gid":6},
                {"path":"/dev/ptmx","type":"c","major":5,"minor":2}]"#,
        )
        .unwrap();
        assert_eq!(all.len(), 7);
        assert_eq!(all[0].mode, 0o600);
        assert_eq!((all[1].uid, all[1].gid, all[1].major, all[1].minor), (5, 6, 10, 229));
    }

    #[test]
    fn bad_numbers_are_refused() {
        let e = devices(r#"[{"path":"/dev/x","type":"c","major":-1,"minor":3}]"#).unwrap_err();
        assert!(e.to_string().contains("/dev/x"));
    }
}
