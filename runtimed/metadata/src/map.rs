//! The records in memory: every key, and where its value is. Small values are kept here, the others are read from the log.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use errors::{Context, Error, Kind, Result};

use crate::log::frame;
use crate::log::medium::Handle;

/// The longest value, in bytes, that is kept in memory.
const SMALL: usize = 64;

/// Keys in order, with their values.
pub(crate) struct Map {
    places: BTreeMap<Box<[u8]>, Place>,
    /// Where values are read from that are longer than `small` bytes.
    file: Arc<dyn Handle>,
    small: usize,
    /// The bytes that the records would take in a log of nothing else.
    live: u64,
    directory: PathBuf,
}

/// Where a value is.
enum Place {
    Here(Box<[u8]>),
    There { offset: u64, length: u32, check: u32 },
}

impl Place {
    /// The place of a value that stands in the log at `offset`.
    fn of(value: &[u8], offset: u64, small: usize) -> Place {
        match value.len() <= small {
            true => Place::Here(value.into()),
            false => Place::There { offset, length: value.len() as u32, check: crc32fast::hash(value) },
        }
    }

    fn length(&self) -> usize {
        match self {
            Place::Here(value) => value.len(),
            Place::There { length, .. } => *length as usize,
        }
    }
}

impl Map {
    /// Nothing yet; values will be in `file`.
    pub(crate) fn new(directory: &Path, file: Arc<dyn Handle>) -> Map {
        Map { places: BTreeMap::new(), file, small: SMALL, live: 0, directory: directory.to_owned() }
    }

    /// The same with all values in memory.
    pub(crate) fn in_memory(directory: &Path, file: Arc<dyn Handle>) -> Map {
        Map { small: usize::MAX, ..Map::new(directory, file) }
    }

    /// Takes in the changes of a whole frame whose `body` stands in the log at `body_at`.
    pub(crate) fn take(&mut self, body: &[u8], body_at: u64) {
        for entry in frame::entries(body).unwrap_or_default() {
            match entry.value {
                None => {
                    if let Some(old) = self.places.remove(entry.key) {
                        self.live -= frame::entry_size(entry.key, old.length());
                    }
                }
                Some(range) => {
                    let place = Place::of(&body[range.clone()], body_at + range.start as u64, self.small);
                    self.live += frame::entry_size(entry.key, place.length());
                    match self.places.entry(entry.key.into()) {
                        Entry::Vacant(empty) => drop(empty.insert(place)),
                        Entry::Occupied(mut full) => {
                            self.live -= frame::entry_size(entry.key, full.insert(place).length());
                        }
                    }
                }
            }
        }
    }

    /// The bytes that the records would take in a log of nothing else.
    pub(crate) fn live(&self) -> u64 {
        self.live
    }

    /// The value under `key`.
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.places.get(key).map(|place| self.read(key, place)).transpose()
    }

    /// Calls `each` with the records whose keys begin with `prefix`, in order.
    pub(crate) fn scan(
        &self,
        prefix: &[u8],
        mut each: impl FnMut(&[u8], Vec<u8>) -> Result<()>,
    ) -> Result<()> {
        for (key, place) in self.from(prefix) {
            if !key.starts_with(prefix) {
                break;
            }
            each(key, self.read(key, place)?)?;
        }
        Ok(())
    }

    /// The keys that begin with `prefix`, in order.
    pub(crate) fn keys(&self, prefix: &[u8]) -> Vec<Vec<u8>> {
        self.from(prefix)
            .map(|(key, _)| key)
            .take_while(|key| key.starts_with(prefix))
            .map(|key| key.to_vec())
            .collect()
    }

    /// The first key that is not less than `from`.
    pub(crate) fn seek(&self, from: &[u8]) -> Option<Vec<u8>> {
        self.from(from).next().map(|(key, _)| key.to_vec())
    }

    fn from(&self, key: &[u8]) -> impl Iterator<Item = (&Box<[u8]>, &Place)> {
        self.places.range::<[u8], _>((Bound::Included(key), Bound::Unbounded))
    }

    fn read(&self, key: &[u8], place: &Place) -> Result<Vec<u8>> {
        let (offset, length, check) = match place {
            Place::Here(value) => return Ok(value.to_vec()),
            Place::There { offset, length, check } => (*offset, *length as usize, *check),
        };
        let shown = || format!("{:?} of the store in {:?}", String::from_utf8_lossy(key), self.directory);
        let mut value = vec![0; length];
        let read = self.file.read_at(&mut value, offset).context(|| format!("read record {}", shown()))?;
        if read < length || crc32fast::hash(&value) != check {
            return Err(Error::new(
                Kind::DataLoss,
                format!(
                    "record {} is damaged: {length} bytes at {offset} of its log are not what was written",
                    shown()
                ),
            ));
        }
        Ok(value)
    }
}
