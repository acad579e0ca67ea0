//! What a layer may be at the most, and which of its things are not wanted.

/// What a layer may be at the most. Whoever made the layer is a stranger: each number bounds what one layer can take of disk,
/// memory or time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Unpacked bytes: of the uncompressed stream, and of what its files come to (a file of holes counts as long as it is).
    pub bytes: u64,
    /// Entries.
    pub entries: u64,
    /// Bytes of a name, and of a link's target.
    pub name: usize,
    /// Bytes of the extra headers (pax records, GNU long names) before one entry, with their own headers.
    pub headers: u64,
    /// Bytes of memory that a zstd frame may ask for to be unpacked (RFC 8878, "Window Descriptor").
    pub window: u64,
    /// Device nodes.
    pub devices: Devices,
    /// Files that lend their owner's rights.
    pub setuid: Setuid,
}

/// What becomes of character and block devices in a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Devices {
    /// They are made. A container reaches a device only if its cgroup lets it.
    #[default]
    Allow,
    /// The layer is refused.
    Refuse,
}

/// What becomes of regular files with setuid or setgid bits, or with file capabilities (`security.capability`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Setuid {
    /// They are made as they are.
    #[default]
    Allow,
    /// They are made without.
    Strip,
    /// The layer is refused.
    Refuse,
}

impl Limits {
    /// What is in force where nothing else is configured: far beyond real images, and still an end.
    pub const DEFAULT: Limits = Limits {
        bytes: 1 << 40,
        entries: 20_000_000,
        name: 4096,
        headers: 1 << 20,
        window: 128 << 20,
        devices: Devices::Allow,
        setuid: Setuid::Allow,
    };
}

impl Default for Limits {
    fn default() -> Limits {
        Limits::DEFAULT
    }
}
