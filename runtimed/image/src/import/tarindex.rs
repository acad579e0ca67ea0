//! A tar stream, entry by entry (POSIX.1-2017 pax, "ustar Interchange Format"; GNU tar's long names).
//!
//! Nothing a stranger wrote is read into memory without a bound: names, links and extended headers each have one.

use std::io::{self, Read};

use errors::{Context, Error, Result};
use tar::{EntryType, Header, PaxExtensions};

/// A tar block.
const BLOCK: usize = 512;
/// The most bytes of a long name or an extended header.
const MAX_EXTENSION: u64 = 64 << 10;
/// The most entries of one archive.
const MAX_ENTRIES: u64 = 1_000_000;

/// The stream; after an entry its content must be read, or is skipped.
pub(crate) struct TarStream<R> {
    inner: R,
    /// Content bytes of the current entry that are not read yet.
    left: u64,
    /// Filling up to the next block.
    padding: u64,
    entries: u64,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A regular file.
    File,
    /// A symbolic or hard link, and where it leads.
    Link(String),
    /// Anything else.
    Other,
}

/// An entry's head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) path: String,
    pub(crate) kind: Kind,
    pub(crate) size: u64,
}

/// What extended headers say of the entry behind them.
#[derive(Default)]
struct Extended {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
}

impl<R: Read> TarStream<R> {
    pub(crate) fn new(inner: R) -> TarStream<R> {
        TarStream { inner, left: 0, padding: 0, entries: 0 }
    }

    /// The next entry; `None` at the end of the archive.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>> {
        let mut extended = Extended::default();
        loop {
            self.skip()?;
            let Some(header) = self.header()? else { return Ok(None) };
            self.entries += 1;
            if self.entries > MAX_ENTRIES {
                return Err(Error::invalid(format!("the archive has more than {MAX_ENTRIES} entries")));
            }
            let size = header.entry_size().context(|| "read the size of an entry")?;
            let kind = header.entry_type();
            match kind {
                EntryType::GNULongName => extended.path = Some(self.extension(size)?),
                EntryType::GNULongLink => extended.link = Some(self.extension(size)?),
                EntryType::XHeader => self.pax(size, &mut extended)?,
                EntryType::XGlobalHeader => drop(self.extension(size)?),
                EntryType::GNUSparse => return Err(Error::invalid("the archive has a sparse file")),
                _ => return self.entry(&header, kind, extended, size).map(Some),
            }
        }
    }

    /// Reads the current entry whole, if it has at most `limit` bytes.
    pub(crate) fn read_small(&mut self, path: &str, limit: u64) -> Result<Vec<u8>> {
        if self.left > limit {
            let text =
                format!("{path} in the archive is {} bytes, more than {limit} are not read", self.left);
            return Err(Error::new(errors::Kind::ResourceExhausted, text));
        }
        let mut bytes = Vec::with_capacity(self.left as usize);
        self.read_to_end(&mut bytes).context(|| format!("read {path} in the archive"))?;
        Ok(bytes)
    }

    /// Reads what follows the archive, so that its sender is not left hanging.
    pub(crate) fn drain(mut self, limit: u64) {
        let _ = io::copy(&mut (&mut self.inner).take(limit), &mut io::sink());
    }

    fn entry(&mut self, header: &Header, kind: EntryType, extended: Extended, size: u64) -> Result<Entry> {
        let text = |bytes: Vec<u8>| {
            String::from_utf8(bytes).map_err(|_| Error::invalid("the archive has a name that is not UTF-8"))
        };
        let path = extended.path.unwrap_or_else(|| header.path_bytes().into_owned());
        let link = || extended.link.or_else(|| header.link_name_bytes().map(|bytes| bytes.into_owned()));
        let kind = match kind {
            EntryType::Regular | EntryType::Continuous => Kind::File,
            EntryType::Symlink | EntryType::Link => Kind::Link(text(link().unwrap_or_default())?),
            _ => Kind::Other,
        };
        let has_content = matches!(kind, Kind::File | Kind::Other);
        let size = if has_content { extended.size.unwrap_or(size) } else { 0 };
        self.begin(size);
        Ok(Entry { path: text(path)?, kind, size })
    }

    fn begin(&mut self, size: u64) {
        self.left = size;
        self.padding = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
    }

    fn skip(&mut self) -> Result<()> {
        let rest = self.left.saturating_add(self.padding);
        let skipped =
            io::copy(&mut (&mut self.inner).take(rest), &mut io::sink()).context(|| "read the archive")?;
        if skipped < rest {
            return Err(cut_off());
        }
        (self.left, self.padding) = (0, 0);
        Ok(())
    }

    /// One header block; `None` for the zeros at the end, or a clean end of the stream.
    fn header(&mut self) -> Result<Option<Header>> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.inner.read(&mut block[filled..]) {
                Ok(0) if filled == 0 && self.entries > 0 => return Ok(None),
                Ok(0) => return Err(cut_off()),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context(|| "read the archive"),
            }
        }
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let header = Header::from_byte_slice(&block).clone();
        let stated = header.cksum().context(|| "not a tar archive: read a header's checksum")?;
        // The checksum's own field counts as eight spaces.
        let sum: u32 =
            block[..148].iter().chain(&[b' '; 8]).chain(&block[156..]).map(|byte| u32::from(*byte)).sum();
        if sum != stated {
            return Err(Error::invalid("not a tar archive: a header's checksum is wrong"));
        }
        Ok(Some(header))
    }

    fn extension(&mut self, size: u64) -> Result<Vec<u8>> {
        self.begin(size);
        let mut bytes = self.read_small("an extended header", MAX_EXTENSION)?;
        while bytes.last() == Some(&0) {
            bytes.pop();
        }
        Ok(bytes)
    }

    fn pax(&mut self, size: u64, extended: &mut Extended) -> Result<()> {
        self.begin(size);
        let bytes = self.read_small("an extended header", MAX_EXTENSION)?;
        for record in PaxExtensions::new(&bytes) {
            let record = record.context(|| "read an extended header")?;
            match record.key_bytes() {
                b"path" => extended.path = Some(record.value_bytes().to_vec()),
                b"linkpath" => extended.link = Some(record.value_bytes().to_vec()),
                b"size" => {
                    let size = record.value().ok().and_then(|text| text.parse().ok());
                    extended.size =
                        Some(size.ok_or_else(|| Error::invalid("an extended header has no valid size"))?);
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Reads the current entry's content.
impl<R: Read> Read for TarStream<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 || buffer.is_empty() {
            return Ok(0);
        }
        let most = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        match self.inner.read(&mut buffer[..most])? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the archive is cut off")),
            count => {
                self.left -= count as u64;
                Ok(count)
            }
        }
    }
}

fn cut_off() -> Error {
    Error::invalid("the archive is cut off")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(fill: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        fill(&mut builder);
        builder.into_inner().unwrap()
    }

    fn add(builder: &mut tar::Builder<Vec<u8>>, path: &str, content: &[u8]) {
        let mut header = Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, path, content).unwrap();
    }

    #[test]
    fn reads_names_of_any_length_content_and_links() {
        let long = "d/".repeat(150) + "f";
        let bytes = archive(|builder| {
            add(builder, "a", b"one");
            add(builder, &long, b"two");
            let mut header = Header::new_gnu();
            header.set_entry_type(EntryType::Symlink);
            header.set_size(0);
            builder.append_link(&mut header, "l", "a").unwrap();
        });
        let mut stream = TarStream::new(&bytes[..]);
        assert_eq!(stream.next().unwrap().unwrap(), Entry { path: "a".into(), kind: Kind::File, size: 3 });
        assert_eq!(stream.read_small("a", 3).unwrap(), b"one");
        assert_eq!(stream.next().unwrap().unwrap().path, long);
        let link = stream.next().unwrap().unwrap();
        assert_eq!((link.path.as_str(), link.kind), ("l", Kind::Link("a".into())));
        assert_eq!(stream.next().unwrap(), None);
    }

    #[test]
    fn sizes_in_extended_headers_count() {
        let mut bytes = Vec::new();
        let record = b"12 size=600\n";
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::XHeader);
        header.set_size(record.len() as u64);
        header.set_cksum();
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(record);
        bytes.resize(1024, 0);
        let mut header = Header::new_ustar();
        header.set_path("big").unwrap();
        header.set_entry_type(EntryType::Regular);
        header.set_size(0);
        header.set_cksum();
        bytes.extend_from_slice(header.as_bytes());
        bytes.resize(bytes.len() + 1024, 7);
        bytes.resize(bytes.len() + 1024, 0);
        let mut stream = TarStream::new(&bytes[..]);
        assert_eq!(stream.next().unwrap().unwrap().size, 600);
        assert_eq!(stream.next().unwrap(), None);
    }

    #[test]
    fn cut_off_garbage_and_absurd_extensions_are_refused() {
        let whole = archive(|builder| add(builder, "a", &[1; 2000]));
        for length in [1, 511, 512, 600, 2000] {
            let mut stream = TarStream::new(&whole[..length]);
            let read = stream.next().and_then(|_| stream.next());
            assert!(read.is_err(), "cut at {length}");
        }
        assert!(TarStream::new(&[b'x'; 1024][..]).next().is_err());
        assert!(TarStream::new(&b""[..]).next().is_err());
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::GNULongName);
        header.set_size(u64::MAX / 4);
        header.set_cksum();
        let error = TarStream::new(&header.as_bytes()[..]).next().unwrap_err();
        assert!(error.chain().contains("more than"), "{error:?}");
    }

    proptest::proptest! {
        #[test]
        fn damaged_archives_do_no_harm(at in 0usize..3000, byte: u8, content in proptest::collection::vec(0u8.., 0..900)) {
            let mut bytes = archive(|builder| {
                add(builder, &"d/".repeat(80), b"");
                add(builder, "f", &content);
            });
            let length = bytes.len();
            bytes[at % length] = byte;
            let mut stream = TarStream::new(&bytes[..]);
            while let Ok(Some(entry)) = stream.next() {
                let _ = stream.read_small(&entry.path, 1 << 20);
            }
        }
    }
}
