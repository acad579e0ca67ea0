//! tar streams (POSIX.1-2017 pax, "ustar Interchange Format"), as wrong as wanted.

/// One header, and what follows it.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its name; what does not fit the header needs a pax record.
    pub name: Vec<u8>,
    /// `0` file, `1` hard link, `2` symlink, `3` character device, `4` block device, `5` folder, `x` pax records, `L` long name.
    pub flag: u8,
    /// Permissions.
    pub mode: u64,
    /// Owner and group.
    pub owner: u64,
    /// Last modification, in seconds.
    pub mtime: i64,
    /// Where a link leads.
    pub link: Vec<u8>,
    /// Device numbers.
    pub device: (u64, u64),
    /// What follows.
    pub data: Vec<u8>,
    /// What the header says of its length, if not the truth.
    pub size: Option<u64>,
}

impl Entry {
    /// A file.
    pub fn file(name: &str, data: &[u8]) -> Entry {
        Entry {
            name: name.into(),
            flag: b'0',
            mode: 0o644,
            owner: 0,
            mtime: 1_700_000_000,
            link: Vec::new(),
            device: (0, 0),
            data: data.to_vec(),
            size: None,
        }
    }

    /// Anything else, by its flag.
    pub fn thing(name: &str, flag: u8, link: &str) -> Entry {
        Entry { flag, link: link.into(), mode: 0o755, ..Entry::file(name, b"") }
    }
}

/// The pax records for the entry behind them.
pub fn pax(records: &[(&str, &[u8])]) -> Entry {
    let mut data = Vec::new();
    for (key, value) in records {
        let rest = 3 + key.len() + value.len();
        let mut length = rest + 1;
        while length != rest + length.to_string().len() {
            length = rest + length.to_string().len();
        }
        data.extend_from_slice(format!("{length} {key}=").as_bytes());
        data.extend_from_slice(value);
        data.push(b'\n');
    }
    Entry { flag: b'x', ..Entry::file("pax", &data) }
}

/// The whole archive, with its two empty blocks.
pub fn tar(entries: &[Entry]) -> Vec<u8> {
    let mut archive = Vec::new();
    for entry in entries {
        archive.extend_from_slice(&header(entry));
        archive.extend_from_slice(&entry.data);
        archive.resize(archive.len().next_multiple_of(512), 0);
    }
    archive.resize(archive.len() + 1024, 0);
    archive
}

fn header(entry: &Entry) -> [u8; 512] {
    let mut block = [0; 512];
    let mut put = |at: usize, length: usize, text: &[u8]| {
        let text = &text[..text.len().min(length)];
        block[at..at + text.len()].copy_from_slice(text);
    };
    put(0, 100, &entry.name);
    put(100, 8, &number(entry.mode.into(), 8));
    put(108, 8, &number(entry.owner.into(), 8));
    put(116, 8, &number(entry.owner.into(), 8));
    put(124, 12, &number(entry.size.unwrap_or(entry.data.len() as u64).into(), 12));
    put(136, 12, &number(entry.mtime.into(), 12));
    put(148, 8, b"        ");
    put(156, 1, &[entry.flag]);
    put(157, 100, &entry.link);
    put(257, 8, b"ustar\x0000");
    put(329, 8, &number(entry.device.0.into(), 8));
    put(337, 8, &number(entry.device.1.into(), 8));
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

/// Octal where it fits, GNU's base 256 where not.
fn number(value: i128, length: usize) -> Vec<u8> {
    let text = format!("{value:0width$o}\0", width = length - 1);
    if value >= 0 && text.len() == length {
        return text.into_bytes();
    }
    let mut bytes = value.to_be_bytes()[16 - length..].to_vec();
    bytes[0] = (bytes[0] & 0x7f) | 0x80;
    bytes
}
