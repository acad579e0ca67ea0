//! What the configuration says of devices and of files that lend their owner's rights.

use errors::{Error, Kind as ErrorKind, Result};

use crate::archive::{Entry, Kind};
use crate::{Devices, Limits, Setuid};

/// The attribute that holds a file's capabilities (capabilities(7), "File capabilities").
const CAPABILITIES: &[u8] = b"security.capability";
/// Set-user-ID and set-group-ID.
const SET_IDS: u32 = 0o6000;
/// The most bytes of one attribute's value, and of all names together (xattr(7), "Limits").
const MAX_VALUE: usize = 64 << 10;
const MAX_NAMES: usize = 64 << 10;
/// The most bytes of one attribute's name.
const MAX_KEY: usize = 255;

/// Refuses the entry, or takes from it what is not wanted.
pub(crate) fn admit(entry: &mut Entry, limits: &Limits) -> Result<()> {
    device(entry, limits.devices)?;
    set_ids(entry, limits.setuid)?;
    attributes(entry)
}

fn device(entry: &Entry, policy: Devices) -> Result<()> {
    let (sort, major, minor) = match entry.kind {
        Kind::CharDevice { major, minor } => ("character", major, minor),
        Kind::BlockDevice { major, minor } => ("block", major, minor),
        _ => return Ok(()),
    };
    match policy {
        Devices::Allow => Ok(()),
        Devices::Refuse => Err(forbidden(format!(
            "{sort} device {major}:{minor} {:?} of the layer is refused: layer.devices forbids devices",
            lossy(&entry.name)
        ))),
    }
}

/// Of folders, set-group-ID says something else: whose group new files get.
fn set_ids(entry: &mut Entry, policy: Setuid) -> Result<()> {
    let lends = entry.mode & SET_IDS != 0 || entry.xattrs.contains_key(CAPABILITIES);
    if entry.kind != Kind::File || !lends {
        return Ok(());
    }
    match policy {
        Setuid::Allow => {}
        Setuid::Strip => {
            entry.mode &= !SET_IDS;
            entry.xattrs.remove(CAPABILITIES);
        }
        Setuid::Refuse => {
            return Err(forbidden(format!(
                "{:?} of the layer is refused: layer.setuid forbids set-user-ID, set-group-ID and file capabilities",
                lossy(&entry.name)
            )));
        }
    }
    Ok(())
}

/// What no file system takes is refused by name, before anything is made.
fn attributes(entry: &Entry) -> Result<()> {
    let refuse = |key: &[u8], why: String| {
        let key: String = key.escape_ascii().to_string().chars().take(300).collect();
        Err(Error::invalid(format!("attribute {key:?} of {:?} of the layer {why}", lossy(&entry.name))))
    };
    let mut names = 0;
    for (key, value) in &entry.xattrs {
        names += key.len() + 1;
        if key.is_empty() || key.contains(&0) || key.len() > MAX_KEY {
            return refuse(key, format!("has no name that is possible: 1 to {MAX_KEY} bytes without NUL"));
        }
        if value.len() > MAX_VALUE {
            return refuse(key, format!("has {} bytes, more than {MAX_VALUE}", value.len()));
        }
        if names > MAX_NAMES {
            return refuse(key, format!("is one too many: the names come to more than {MAX_NAMES} bytes"));
        }
    }
    Ok(())
}

fn forbidden(text: String) -> Error {
    Error::new(ErrorKind::PermissionDenied, text)
}

fn lossy(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}
