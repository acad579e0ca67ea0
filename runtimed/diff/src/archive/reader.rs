//! Reads entries from a tar stream. Layers are made by strangers: every length is bounded before it is believed.

use std::io::BufRead;

use errors::{Context, Error, Result};
use tar::Header;

use super::extra::Extra;
use super::header::{check_name, check_sum, id, kind};
use super::{BLOCK, Entry, Kind, Time, number, sparse};
use crate::Limits;

/// A tar stream, read entry by entry.
pub(crate) struct Reader<R> {
    stream: R,
    /// The most bytes of extra headers before an entry, and of a name.
    extra_limit: u64,
    name_limit: usize,
    /// Bytes of the current entry's data that are still to come, and the padding behind them.
    data: u64,
    padding: u64,
    /// Bytes that extra headers before the current entry may still have.
    extra_left: u64,
}

impl<R: BufRead> Reader<R> {
    /// Reads from the stream's beginning.
    pub(crate) fn new(stream: R, limits: &Limits) -> Reader<R> {
        Reader {
            stream,
            extra_limit: limits.headers,
            name_limit: limits.name,
            data: 0,
            padding: 0,
            extra_left: 0,
        }
    }

    /// The next entry; `None` at the end. Data of the last one that were not read are skipped.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>> {
        let mut extra = Extra::default();
        self.extra_left = self.extra_limit;
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
                b'g' => {
                    self.spend(0, "global pax header")?;
                    self.begin_data(size);
                }
                b'L' => extra.name = Some(self.long_name(size)?),
                b'K' => extra.link = Some(self.long_name(size)?),
                flag => return self.entry(&header, flag, size, extra).map(Some),
            }
        }
    }

    /// Hands the current entry's data to `take`, piece by piece.
    pub(crate) fn data(&mut self, mut take: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        while self.data > 0 {
            let at_hand = self.stream.fill_buf().context(reading)?;
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
        loop {
            let count = self.stream.fill_buf().context(reading)?.len();
            if count == 0 {
                return Ok(());
            }
            self.stream.consume(count);
        }
    }

    fn begin_data(&mut self, size: u64) {
        self.data = size;
        self.padding = size.wrapping_neg() % BLOCK as u64;
    }

    fn skip_data(&mut self) -> Result<()> {
        self.data(|_| Ok(()))?;
        self.skip_padding()
    }

    /// Some writers stop behind the last file's data, without the padding and the two empty blocks: that is an end, as for containerd.
    fn skip_padding(&mut self) -> Result<()> {
        while self.padding > 0 {
            let at_hand = self.stream.fill_buf().context(reading)?.len() as u64;
            let count = if at_hand == 0 { self.padding } else { self.padding.min(at_hand) };
            if at_hand > 0 {
                self.stream.consume(count as usize);
            }
            self.padding -= count;
        }
        Ok(())
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
    pub(super) fn block(&mut self, block: &mut [u8; BLOCK]) -> Result<bool> {
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
        self.spend(size, what)?;
        self.begin_data(size);
        let mut bytes = Vec::new();
        self.data(|piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })?;
        Ok(bytes)
    }

    /// Counts an extra header with its data against what one entry may have of them.
    fn spend(&mut self, size: u64, what: &str) -> Result<()> {
        let left = self.extra_left.checked_sub(size.saturating_add(BLOCK as u64));
        self.extra_left = left.ok_or_else(|| {
            Error::invalid(format!(
                "tar {what} of {size} bytes: the extra headers of one entry are longer than the limit of {} bytes",
                self.extra_limit
            ))
        })?;
        Ok(())
    }

    fn long_name(&mut self, size: u64) -> Result<Vec<u8>> {
        let mut name = self.extra(size, "long name")?;
        let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
        name.truncate(end);
        Ok(name)
    }

    fn entry(&mut self, header: &Header, flag: u8, size: u64, mut extra: Extra) -> Result<Entry> {
        let stored = extra.size.unwrap_or(size);
        let records = std::mem::take(&mut extra.sparse);
        let mut entry = describe(header, flag, extra, self.name_limit)?;
        if entry.kind == Kind::File {
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
        self.sparse_from_records(&mut entry, records)?;
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
}

/// The entry as header and extra headers have it, without what there is to say about its data.
fn describe(header: &Header, flag: u8, extra: Extra, name_limit: usize) -> Result<Entry> {
    let old = header.as_old();
    let name = extra.sparse_name.or(extra.name).unwrap_or_else(|| header.path_bytes().into_owned());
    let link =
        extra.link.or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned)).unwrap_or_default();
    check_name(&name, name_limit)?;
    check_name(&link, name_limit)?;
    Ok(Entry {
        kind: kind(header, flag, &name)?,
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
    })
}

fn reading() -> &'static str {
    "read the layer"
}

/// The stream ended too early.
pub(super) fn truncated() -> Error {
    Error::invalid("layer is truncated: unexpected EOF")
}
