//! Reads entries from a tar stream. Layers are made by strangers: every length is bounded before it is believed.

use std::io::Read;

use errors::{Context, Error, Result};
use tar::Header;

use super::sparse::{self, Extent, MAX_EXTENTS};
use super::{BLOCK, Entry, Kind, MAX_EXTRA, Time, libarchive, number, pax};
use crate::pipe::Stream;

/// The longest name that a call takes (`PATH_MAX`, path_resolution(7)).
const MAX_NAME: usize = 4096;

/// A tar stream, read entry by entry.
pub(crate) struct Reader {
    stream: Stream,
    /// Bytes of the current entry's data that are still to come, and the padding behind them.
    data: u64,
    padding: u64,
}

/// What the extra headers before an entry say.
#[derive(Default)]
struct Extra {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    mtime: Option<Time>,
    xattrs: std::collections::BTreeMap<Vec<u8>, Vec<u8>>,
    sparse: sparse::Records,
    sparse_name: Option<Vec<u8>>,
}

impl Reader {
    /// Reads from the stream's beginning.
    pub(crate) fn new(stream: Stream) -> Reader {
        Reader { stream, data: 0, padding: 0 }
    }

    /// The next entry; `None` at the end. Data of the last one that were not read are skipped.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>> {
        let mut extra = Extra::default();
        loop {
            self.skip_data()?;
            let Some(header) = self.header()? else {
                return Ok(None);
            };
            let size = number::unsigned(&header.as_old().size, "size")?;
            match header.as_old().linkflag[0] {
                b'x' | b'X' => {
                    let records = self.extra(size, "pax header")?;
                    extra.take_pax(&records)?;
                }
                // Global ones are of no use to layers, as with containerd.
                b'g' => self.begin_data(size),
                b'L' => extra.name = Some(self.long_name(size)?),
                b'K' => extra.link = Some(self.long_name(size)?),
                flag => return self.entry(&header, flag, size, extra).map(Some),
            }
        }
    }

    /// Hands the current entry's data to `take`, piece by piece.
    pub(crate) fn data(&mut self, mut take: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        while self.data > 0 {
            let at_hand = self.stream.at_hand().context(reading)?;
            if at_hand.is_empty() {
                return Err(truncated());
            }
            let count = usize::try_from(self.data).unwrap_or(usize::MAX).min(at_hand.len());
            take(&at_hand[..count])?;
            self.stream.consume(count);
            self.data -= count as u64;
        }
        Ok(())
    }

    /// Like [`Reader::data`], but at most `limit` bytes; for the pieces of a sparse file.
    pub(crate) fn data_up_to(&mut self, limit: u64, take: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let rest = self.data.saturating_sub(limit);
        self.data -= rest;
        let done = self.data(take);
        self.data += rest;
        done
    }

    /// Lets what follows the archive's end go by.
    pub(crate) fn drain(&mut self) -> Result<()> {
        self.stream.drain().context(reading)
    }

    fn begin_data(&mut self, size: u64) {
        self.data = size;
        self.padding = size.wrapping_neg() % BLOCK as u64;
    }

    fn skip_data(&mut self) -> Result<()> {
        self.data(|_| Ok(()))?;
        self.data = std::mem::take(&mut self.padding);
        self.data(|_| Ok(()))
    }

    /// The next header block that says something; `None` at the end: two empty blocks, or the stream's.
    fn header(&mut self) -> Result<Option<Header>> {
        let mut block = [0; BLOCK];
        if !self.block(&mut block)? {
            return Ok(None);
        }
        if block.iter().all(|byte| *byte == 0) {
            if self.block(&mut block)? && block.iter().any(|byte| *byte != 0) {
                return Err(Error::invalid("invalid tar header: data behind an empty block"));
            }
            return Ok(None);
        }
        let header = Header::from_byte_slice(&block).clone();
        check_sum(&header)?;
        Ok(Some(header))
    }

    /// Reads a block; `false` when the stream ended before it.
    fn block(&mut self, block: &mut [u8; BLOCK]) -> Result<bool> {
        let mut filled = 0;
        while filled < BLOCK {
            match self.stream.read(&mut block[filled..]).context(reading)? {
                0 if filled == 0 => return Ok(false),
                0 => return Err(truncated()),
                read => filled += read,
            }
        }
        Ok(true)
    }

    /// Reads a header's data into memory.
    fn extra(&mut self, size: u64, what: &str) -> Result<Vec<u8>> {
        if size > MAX_EXTRA {
            return Err(Error::invalid(format!("tar {what} of {size} bytes is longer than {MAX_EXTRA}")));
        }
        self.begin_data(size);
        let mut bytes = Vec::new();
        self.data(|piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })?;
        Ok(bytes)
    }

    fn long_name(&mut self, size: u64) -> Result<Vec<u8>> {
        let mut name = self.extra(size, "long name")?;
        let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
        name.truncate(end);
        Ok(name)
    }

    fn entry(&mut self, header: &Header, flag: u8, size: u64, extra: Extra) -> Result<Entry> {
        let old = header.as_old();
        let stored = extra.size.unwrap_or(size);
        let name = extra.sparse_name.or(extra.name).unwrap_or_else(|| header.path_bytes().into_owned());
        check_name(&name)?;
        let link = extra
            .link
            .or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned))
            .unwrap_or_default();
        check_name(&link)?;
        let kind = kind(header, flag, &name)?;
        let mut entry = Entry {
            kind,
            mode: (number::field(&old.mode, "mode")? & 0o7777) as u32,
            uid: id(extra.uid.map_or_else(|| number::unsigned(&old.uid, "uid"), Ok)?, "uid")?,
            gid: id(extra.gid.map_or_else(|| number::unsigned(&old.gid, "gid"), Ok)?, "gid")?,
            mtime: match extra.mtime {
                Some(mtime) => mtime,
                None => Time { seconds: number::field(&old.mtime, "mtime")?, nanoseconds: 0 },
            },
            size: 0,
            link,
            xattrs: extra.xattrs,
            sparse: None,
            name,
        };
        if kind == Kind::File {
            entry.size = stored;
        }
        if flag == b'S' {
            let gnu =
                header.as_gnu().ok_or_else(|| Error::invalid("invalid tar header: sparse, but not GNU's"))?;
            entry.size = number::unsigned(&gnu.realsize, "realsize")?;
            entry.sparse = Some(self.old_sparse_map(gnu)?);
        }
        // Links, devices and folders have no data, whatever their size field says: some writers leave the target's there.
        self.begin_data(if (b'1'..=b'6').contains(&flag) { 0 } else { stored });
        self.sparse_from_records(&mut entry, extra.sparse)?;
        if let Some(extents) = &entry.sparse {
            sparse::check(extents, entry.size, self.data)?;
        }
        Ok(entry)
    }

    fn sparse_from_records(&mut self, entry: &mut Entry, records: sparse::Records) -> Result<()> {
        if entry.kind != Kind::File {
            return Ok(());
        }
        if records.map_in_data() {
            entry.sparse = Some(self.map_in_data()?);
        } else if let Some(map) = &records.map {
            entry.sparse = Some(sparse::pair(map)?);
        } else {
            return Ok(());
        }
        entry.size = records.size.ok_or_else(|| Error::invalid("sparse file without its real size"))?;
        Ok(())
    }

    /// The four pieces in GNU's old header, and the blocks of 21 behind it.
    fn old_sparse_map(&mut self, gnu: &tar::GnuHeader) -> Result<Vec<Extent>> {
        let mut extents = Vec::new();
        let mut take = |piece: &tar::GnuSparseHeader| -> Result<()> {
            if piece.offset[0] != 0 && piece.numbytes[0] != 0 {
                extents.push(Extent {
                    offset: number::unsigned(&piece.offset, "sparse offset")?,
                    length: number::unsigned(&piece.numbytes, "sparse length")?,
                });
            }
            if extents.len() > MAX_EXTENTS {
                return Err(Error::invalid(format!("sparse file in more than {MAX_EXTENTS} pieces")));
            }
            Ok(())
        };
        gnu.sparse.iter().try_for_each(&mut take)?;
        let mut more = gnu.is_extended();
        while more {
            let mut block = tar::GnuExtSparseHeader::new();
            if !self.block(block.as_mut_bytes())? {
                return Err(truncated());
            }
            block.sparse().iter().try_for_each(&mut take)?;
            more = block.is_extended();
        }
        Ok(extents)
    }

    /// Version 1.0: decimal numbers, a line each, padded to whole blocks, before the data proper.
    fn map_in_data(&mut self) -> Result<Vec<Extent>> {
        let mut numbers: Vec<u64> = Vec::new();
        let mut digits = Vec::new();
        let mut wanted = 1;
        while numbers.len() < wanted {
            let mut block = Vec::with_capacity(BLOCK);
            self.data_up_to(BLOCK as u64, |piece| {
                block.extend_from_slice(piece);
                Ok(())
            })?;
            if block.len() < BLOCK {
                return Err(truncated());
            }
            for byte in block {
                if numbers.len() == wanted {
                    break;
                }
                if byte != b'\n' {
                    digits.push(byte);
                    if digits.len() > 20 {
                        return Err(Error::invalid("invalid sparse map: number too long"));
                    }
                    continue;
                }
                numbers.push(number::decimal(&digits, "GNU.sparse map")?);
                digits.clear();
                if numbers.len() == 1 {
                    if numbers[0] > MAX_EXTENTS as u64 {
                        return Err(Error::invalid(format!("sparse file in more than {MAX_EXTENTS} pieces")));
                    }
                    wanted = 1 + 2 * numbers[0] as usize;
                }
            }
        }
        sparse::pair(&numbers[1..])
    }
}

impl Extra {
    /// Of several records of one key the last counts; an empty value takes an earlier one back.
    fn take_pax(&mut self, bytes: &[u8]) -> Result<()> {
        let present = |value: &[u8]| (!value.is_empty()).then(|| value.to_vec());
        for (key, value) in pax::records(bytes)? {
            match key {
                b"path" => self.name = present(value),
                b"linkpath" => self.link = present(value),
                b"size" => self.size = optional(value, "size")?,
                b"uid" => self.uid = optional(value, "uid")?,
                b"gid" => self.gid = optional(value, "gid")?,
                b"mtime" if value.is_empty() => self.mtime = None,
                b"mtime" => self.mtime = Some(number::time(value, "mtime")?),
                b"GNU.sparse.name" => self.sparse_name = present(value),
                _ => self.take_prefixed(key, value)?,
            }
        }
        Ok(())
    }

    fn take_prefixed(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
            self.xattrs.insert(name.to_vec(), value.to_vec());
        } else if let Some(name) = key.strip_prefix(b"LIBARCHIVE.xattr.") {
            // libarchive writes both; the other form needs no decoding.
            let name = libarchive::percent_decoded(name);
            if let (false, Some(value)) = (self.xattrs.contains_key(&name), libarchive::base64_decoded(value))
            {
                self.xattrs.insert(name, value);
            }
        } else if let Some(key) = key.strip_prefix(b"GNU.sparse.") {
            self.sparse.take(key, value)?;
        }
        Ok(())
    }
}

fn optional(value: &[u8], key: &str) -> Result<Option<u64>> {
    if value.is_empty() { Ok(None) } else { number::decimal(value, key).map(Some) }
}

fn kind(header: &Header, flag: u8, name: &[u8]) -> Result<Kind> {
    let device = || -> Result<(u32, u32)> {
        let (major, minor) = match (header.as_ustar(), header.as_gnu()) {
            (Some(ustar), _) => (ustar.dev_major, ustar.dev_minor),
            (_, Some(gnu)) => (gnu.dev_major, gnu.dev_minor),
            _ => return Ok((0, 0)),
        };
        let part = |bytes: &[u8], what| id(number::unsigned(bytes, what)?, what);
        Ok((part(&major, "device major")?, part(&minor, "device minor")?))
    };
    Ok(match flag {
        // V7 knew folders by their names.
        b'0' | b'\0' | b'7' if name.ends_with(b"/") => Kind::Folder,
        b'0' | b'\0' | b'7' | b'S' => Kind::File,
        b'1' => Kind::HardLink,
        b'2' => Kind::Symlink,
        b'3' => device().map(|(major, minor)| Kind::CharDevice { major, minor })?,
        b'4' => device().map(|(major, minor)| Kind::BlockDevice { major, minor })?,
        b'5' => Kind::Folder,
        b'6' => Kind::Fifo,
        other => {
            return Err(Error::invalid(format!(
                "unhandled tar header type {:?} of {:?}",
                char::from(other),
                String::from_utf8_lossy(name)
            )));
        }
    })
}

/// The sum of all bytes, with its own field as blanks; some old writers summed signed bytes.
fn check_sum(header: &Header) -> Result<()> {
    let said = number::field(&header.as_old().cksum, "checksum")?;
    let (mut unsigned, mut signed) = (0i64, 0i64);
    for (index, byte) in header.as_bytes().iter().enumerate() {
        let byte = if (148..156).contains(&index) { b' ' } else { *byte };
        unsigned += i64::from(byte);
        signed += i64::from(byte as i8);
    }
    if said != unsigned && said != signed {
        return Err(Error::invalid(format!("invalid tar header: checksum {said} is not {unsigned}")));
    }
    Ok(())
}

fn check_name(name: &[u8]) -> Result<()> {
    if name.contains(&0) {
        return Err(Error::invalid(format!("tar name {:?} holds a NUL", name.escape_ascii().to_string())));
    }
    if name.len() > MAX_NAME {
        return Err(Error::invalid(format!("tar name of {} bytes is longer than {MAX_NAME}", name.len())));
    }
    Ok(())
}

fn id(value: u64, what: &str) -> Result<u32> {
    // The last one means "leave as it is" to chown(2).
    u32::try_from(value)
        .ok()
        .filter(|id| *id != u32::MAX)
        .ok_or_else(|| Error::invalid(format!("invalid tar header: {what} {value} is out of range")))
}

fn reading() -> &'static str {
    "read the layer"
}

fn truncated() -> Error {
    Error::invalid("layer is truncated: unexpected EOF")
}
