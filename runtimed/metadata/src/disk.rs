//! The one file that knows sled: an ordered map from bytes to bytes, applied in atomic batches.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use errors::{Context, Error, Kind, Result};

use crate::key::Sort;
use crate::lock::{Lock, patiently};
use crate::value::{self, Head};

/// A value, or `None` for a deletion.
pub(crate) type Change = Option<Vec<u8>>;
/// Changes by key.
pub(crate) type Changes = BTreeMap<Vec<u8>, Change>;

/// What sled may keep in memory, in bytes.
const CACHE: u64 = 8 << 20;
/// The layout of keys and values described in this crate.
const FORMAT: u32 = 1;
/// Where the layout's number stands: outside of every table, since tables have names.
const FORMAT_KEY: &[u8] = b"format";

/// The store's files, open.
pub(crate) struct Disk {
    map: sled::Db,
    /// sled's log again, to sync it: sled calls sync_file_range(2), which says nothing about the file's size nor about the
    /// drive's cache.
    log: File,
    directory: PathBuf,
    _lock: Lock,
}

impl Disk {
    /// Opens, or creates, the store in `directory`. An error deletes nothing that was there.
    pub(crate) fn open(directory: &Path) -> Result<Disk> {
        let fresh = !directory.join("db").exists();
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .context(|| format!("create the store's directory {directory:?}"))?;
        let lock = Lock::take(directory)?;
        remove_unfinished_snapshots(directory)?;
        let config = sled::Config::new().path(directory).cache_capacity(CACHE).flush_every_ms(None);
        // sled has a lock of its own, on its log.
        let map = patiently(|| config.open(), is_locked).map_err(|error| opening(directory, error))?;
        let log = File::open(directory.join("db")).context(|| format!("open the log in {directory:?}"))?;
        let disk = Disk { map, log, directory: directory.to_owned(), _lock: lock };
        disk.check_format(fresh)?;
        Ok(disk)
    }

    /// The value of the record under `key`, put together.
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        match self.map.get(key).map_err(|error| self.failed("read", error))? {
            Some(bytes) => self.assemble(key, &bytes).map(Some),
            None => Ok(None),
        }
    }

    /// Calls `each` with the records whose keys begin with `prefix`, in order.
    pub(crate) fn scan(
        &self,
        prefix: &[u8],
        mut each: impl FnMut(Vec<u8>, Vec<u8>) -> Result<()>,
    ) -> Result<()> {
        for entry in self.map.scan_prefix(prefix) {
            let (key, bytes) = entry.map_err(|error| self.failed("read", error))?;
            let value = self.assemble(&key, &bytes)?;
            each(key.to_vec(), value)?;
        }
        Ok(())
    }

    /// The keys that begin with `prefix`, in order.
    pub(crate) fn keys(&self, prefix: &[u8]) -> Result<Vec<Vec<u8>>> {
        let key = |entry: sled::Result<sled::IVec>| entry.map(|key| key.to_vec());
        let keys: sled::Result<Vec<_>> = self.map.scan_prefix(prefix).keys().map(key).collect();
        keys.map_err(|error| self.failed("read", error))
    }

    /// The first key that is not less than `from`.
    pub(crate) fn seek(&self, from: &[u8]) -> Result<Option<Vec<u8>>> {
        match self.map.range(from..).next() {
            None => Ok(None),
            Some(Ok((key, _))) => Ok(Some(key.to_vec())),
            Some(Err(error)) => Err(self.failed("read", error)),
        }
    }

    /// Takes `changes` in, all or nothing; [`Disk::flush`] makes them durable.
    pub(crate) fn apply(&self, changes: &Changes) -> Result<()> {
        let mut batch = sled::Batch::default();
        for (key, change) in changes {
            let before = self.pieces(key)?;
            let now = match change {
                None => {
                    batch.remove(key.as_slice());
                    0
                }
                Some(value) => put(&mut batch, key, value),
            };
            for index in now..before {
                batch.remove(value::piece_key(key, index));
            }
        }
        self.map.apply_batch(batch).map_err(|error| self.failed("write", error))
    }

    /// Waits until everything applied is on the disk.
    pub(crate) fn flush(&self) -> Result<()> {
        self.map.flush().map_err(|error| self.failed("flush", error))?;
        self.log.sync_data().context(|| format!("sync the store in {:?}", self.directory))
    }

    fn assemble(&self, key: &[u8], bytes: &[u8]) -> Result<Vec<u8>> {
        match value::head(bytes).ok_or_else(|| self.damaged(key))? {
            Head::Here(value) => Ok(value.to_vec()),
            Head::Pieces(count) => {
                let mut value = Vec::with_capacity((count as usize).min(1 << 12) * value::PIECE);
                for index in 0..count {
                    let piece = self.map.get(value::piece_key(key, index));
                    let piece = piece.map_err(|error| self.failed("read", error))?;
                    value.extend_from_slice(&piece.ok_or_else(|| self.damaged(key))?);
                }
                Ok(value)
            }
        }
    }

    /// How many pieces the value under `key` has now.
    fn pieces(&self, key: &[u8]) -> Result<u32> {
        let Some(bytes) = self.map.get(key).map_err(|error| self.failed("read", error))? else {
            return Ok(0);
        };
        match value::head(&bytes).ok_or_else(|| self.damaged(key))? {
            Head::Here(_) => Ok(0),
            Head::Pieces(count) => Ok(count),
        }
    }

    fn check_format(&self, fresh: bool) -> Result<()> {
        let directory = &self.directory;
        let found = self.map.get(FORMAT_KEY).map_err(|error| self.failed("read", error))?;
        match found.map(|bytes| <[u8; 4]>::try_from(bytes.as_ref()).map(u32::from_be_bytes)) {
            Some(Ok(FORMAT)) => Ok(()),
            Some(Ok(other)) => Err(Error::precondition(format!(
                "the store in {directory:?} has format {other}, and this program knows format {FORMAT} only"
            ))),
            Some(Err(_)) => Err(self.damaged(FORMAT_KEY)),
            // Killed between creating sled's files and the first write, a store is empty and not ours to doubt.
            None if fresh || self.map.is_empty() => self.write_format(),
            None => Err(Error::new(
                Kind::DataLoss,
                format!("{directory:?} holds a sled database that is not a store of this program"),
            )),
        }
    }

    fn write_format(&self) -> Result<()> {
        self.map.insert(FORMAT_KEY, &FORMAT.to_be_bytes()).map_err(|error| self.failed("write", error))?;
        self.flush()?;
        // The files' names must be durable too.
        for directory in self.directory.ancestors().take(2) {
            File::open(directory)
                .and_then(|directory| directory.sync_all())
                .context(|| format!("sync {directory:?}"))?;
        }
        Ok(())
    }

    fn damaged(&self, key: &[u8]) -> Error {
        let key = String::from_utf8_lossy(key);
        Error::new(Kind::DataLoss, format!("record {key:?} of the store in {:?} is damaged", self.directory))
    }

    fn failed(&self, what: &str, error: sled::Error) -> Error {
        Error::with_source(kind(&error), format!("{what} the store in {:?}", self.directory), error)
    }
}

/// Adds a record to the batch; returns how many pieces it has.
fn put(batch: &mut sled::Batch, key: &[u8], value: &[u8]) -> u32 {
    let (head, pieces) = value::split(value);
    batch.insert(key, head);
    let mut count = 0;
    for piece in pieces {
        batch.insert(value::piece_key(key, count), piece);
        count += 1;
    }
    count
}

/// A snapshot of sled's page table that was being written when the process died. sled takes such a file for a whole
/// one and calls the store corrupt; the log has all that is in it.
fn remove_unfinished_snapshots(directory: &Path) -> Result<()> {
    let entries = fs::read_dir(directory).context(|| format!("list {directory:?}"))?;
    for entry in entries {
        let path = entry.context(|| format!("list {directory:?}"))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            tracing::warn!(?path, "removing an unfinished snapshot of the page table");
            fs::remove_file(&path).context(|| format!("remove {path:?}"))?;
        }
    }
    Ok(())
}

fn opening(directory: &Path, error: sled::Error) -> Error {
    let advice = match error {
        sled::Error::Corruption { .. } => "; nothing was changed: restore a copy, or move the directory away",
        _ => "",
    };
    Error::with_source(kind(&error), format!("open the store in {directory:?}{advice}"), error)
}

/// sled says so in words alone.
fn is_locked(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(error) if error.to_string().contains("could not acquire lock"))
}

fn kind(error: &sled::Error) -> Kind {
    match error {
        sled::Error::Io(error) => Kind::of_io(error),
        sled::Error::Corruption { .. } => Kind::DataLoss,
        _ => Kind::Internal,
    }
}

/// Where the records of all tables of a sort begin.
pub(crate) fn first_of(sort: Sort) -> Vec<u8> {
    vec![sort.byte()]
}
