//! Writes entries as a pax archive: ustar headers, and extended ones only for what does not fit.

use std::io::Write;

use errors::{Context, Result};
use tar::{EntryType, Header};

use super::{BLOCK, Entry, Kind, pax};

/// The largest number in an octal field of seven digits, and of eleven.
const MAX_ID: u32 = 0o7_777_777;
const MAX_SIZE: u64 = 0o77_777_777_777;

/// A tar stream being written.
pub(crate) struct Writer<W> {
    out: W,
}

impl<W: Write> Writer<W> {
    /// Writes to `out`.
    pub(crate) fn new(out: W) -> Writer<W> {
        Writer { out }
    }

    /// Writes the entry's headers; `entry.size` bytes of data and [`Writer::pad`] must follow.
    pub(crate) fn entry(&mut self, entry: &Entry) -> Result<()> {
        let records = records(entry);
        if !records.is_empty() {
            let mut header = Header::new_ustar();
            header.set_mode(0o644);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
            header.set_size(records.len() as u64);
            header.set_entry_type(EntryType::XHeader);
            fill(&mut header.as_old_mut().name, b"PaxHeaders.0/entry");
            header.set_cksum();
            self.write(header.as_bytes())?;
            self.write(&records)?;
            self.pad(records.len() as u64)?;
        }
        self.write(header(entry).as_bytes())
    }

    /// Writes data.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).context(|| "write the layer")
    }

    /// Fills up the last block behind `written` bytes of data.
    pub(crate) fn pad(&mut self, written: u64) -> Result<()> {
        let missing = written.wrapping_neg() % BLOCK as u64;
        self.write(&[0; BLOCK][..missing as usize])
    }

    /// Ends the archive.
    pub(crate) fn finish(mut self) -> Result<W> {
        self.write(&[0; 2 * BLOCK])?;
        Ok(self.out)
    }
}

/// What the plain header cannot say. Names other than ASCII are said again, since ustar knows no others.
fn records(entry: &Entry) -> Vec<u8> {
    let mut records = Vec::new();
    if entry.name.len() > 100 || !entry.name.is_ascii() {
        pax::append(&mut records, b"path", &entry.name);
    }
    if entry.link.len() > 100 || !entry.link.is_ascii() {
        pax::append(&mut records, b"linkpath", &entry.link);
    }
    if entry.size > MAX_SIZE {
        pax::append(&mut records, b"size", entry.size.to_string().as_bytes());
    }
    for (key, id) in [("uid", entry.uid), ("gid", entry.gid)] {
        if id > MAX_ID {
            pax::append(&mut records, key.as_bytes(), id.to_string().as_bytes());
        }
    }
    if u64::try_from(entry.mtime.seconds).is_err() {
        pax::append(&mut records, b"mtime", entry.mtime.seconds.to_string().as_bytes());
    }
    for (key, value) in &entry.xattrs {
        pax::append(&mut records, &[b"SCHILY.xattr.", key.as_slice()].concat(), value);
    }
    records
}

fn header(entry: &Entry) -> Header {
    let mut header = Header::new_ustar();
    fill(&mut header.as_old_mut().name, &entry.name);
    fill(&mut header.as_old_mut().linkname, &entry.link);
    header.set_mode(entry.mode);
    header.set_uid(entry.uid.min(MAX_ID).into());
    header.set_gid(entry.gid.min(MAX_ID).into());
    header.set_size(entry.size.min(MAX_SIZE));
    header.set_mtime(entry.mtime.seconds.max(0) as u64);
    let (kind, device) = match entry.kind {
        Kind::File => (EntryType::Regular, (0, 0)),
        Kind::HardLink => (EntryType::Link, (0, 0)),
        Kind::Symlink => (EntryType::Symlink, (0, 0)),
        Kind::CharDevice { major, minor } => (EntryType::Char, (major, minor)),
        Kind::BlockDevice { major, minor } => (EntryType::Block, (major, minor)),
        Kind::Folder => (EntryType::Directory, (0, 0)),
        Kind::Fifo => (EntryType::Fifo, (0, 0)),
    };
    header.set_entry_type(kind);
    if let Some(ustar) = header.as_ustar_mut() {
        ustar.set_device_major(device.0);
        ustar.set_device_minor(device.1);
    }
    header.set_cksum();
    header
}

fn fill(field: &mut [u8], text: &[u8]) {
    let length = text.len().min(field.len());
    field[..length].copy_from_slice(&text[..length]);
}
