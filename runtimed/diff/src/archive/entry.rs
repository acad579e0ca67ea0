//! One thing that a layer holds.

use std::collections::BTreeMap;

use super::sparse::Extent;

/// A file, folder, link or device in a layer, without its data.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Entry {
    /// Its name as the layer has it: any bytes but NUL.
    pub(crate) name: Vec<u8>,
    /// What it is.
    pub(crate) kind: Kind,
    /// Permission bits with setuid, setgid and sticky.
    pub(crate) mode: u32,
    /// Owner.
    pub(crate) uid: u32,
    /// Group.
    pub(crate) gid: u32,
    /// Last modification.
    pub(crate) mtime: Time,
    /// Bytes of the file once unpacked; 0 for what is no file.
    pub(crate) size: u64,
    /// Where a link leads.
    pub(crate) link: Vec<u8>,
    /// Extended attributes.
    pub(crate) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Where the data go, when there are holes between them.
    pub(crate) sparse: Option<Vec<Extent>>,
}

/// What an entry is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A regular file.
    #[default]
    File,
    /// Another name for an earlier file.
    HardLink,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharDevice {
        /// Its driver.
        major: u32,
        /// Its number there.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Its driver.
        major: u32,
        /// Its number there.
        minor: u32,
    },
    /// A folder.
    Folder,
    /// A named pipe.
    Fifo,
}

/// A time since 1970.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Time {
    /// Seconds, rounded down.
    pub(crate) seconds: i64,
    /// Nanoseconds on top.
    pub(crate) nanoseconds: u32,
}
