//! A folder that writes down all that happens to it, and tells what a disk may hold when the power goes.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use rand::Rng;
use rand::rngs::StdRng;

use crate::disk::{Disk, Sizes};
use crate::log::medium::{Handle, Medium};

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

/// Small, so that short runs make room, and make the log anew, often.
pub(super) const SIZES: Sizes =
    Sizes { chunk: 8 << 10, idle_garbage: 24 << 10, busy_garbage: 64 << 10, body: 4 << 10 };

/// Something that happened.
#[derive(Debug, Clone)]
pub(super) enum Event {
    Write {
        file: usize,
        offset: usize,
        bytes: Vec<u8>,
    },
    Sync {
        file: usize,
    },
    Create {
        name: String,
        file: usize,
    },
    Rename {
        from: String,
        to: String,
    },
    Remove {
        name: String,
    },
    SyncNames,
    /// A transaction was handed in.
    Issued(u64),
    /// A transaction was answered.
    Answered {
        number: u64,
        flushed: bool,
    },
}

/// What a call is made to fail with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Writes find no room; part of the bytes is written.
    Full,
    /// Writes fail, and so do syncs; what was to be synced is lost without a further word.
    Broken,
}

/// The files, as whoever reads them sees them.
#[derive(Debug, Default, Clone)]
pub(super) struct Image {
    pub(super) names: BTreeMap<String, usize>,
    pub(super) files: BTreeMap<usize, Vec<u8>>,
}

#[derive(Default)]
struct Inner {
    image: Image,
    events: Vec<Event>,
    /// The event from which on calls fail.
    fails: Option<(usize, Fault)>,
}

/// A folder in memory. Clones are the same one.
#[derive(Clone, Default)]
pub(super) struct Recorder {
    inner: Arc<Mutex<Inner>>,
}

struct Open {
    recorder: Recorder,
    file: usize,
}

impl Recorder {
    /// A folder that holds `image`.
    pub(super) fn holding(image: Image) -> Recorder {
        Recorder { inner: Arc::new(Mutex::new(Inner { image, ..Inner::default() })) }
    }

    /// Lets calls fail from the `event`th on.
    pub(super) fn failing(event: usize, fault: Fault) -> Recorder {
        Recorder { inner: Arc::new(Mutex::new(Inner { fails: Some((event, fault)), ..Inner::default() })) }
    }

    /// Calls do not fail any more.
    pub(super) fn mend(&self) {
        self.inner.lock().unwrap().fails = None;
    }

    pub(super) fn open(&self) -> errors::Result<Disk> {
        Disk::on(Arc::new(self.clone()), Path::new("/recorded"), SIZES)
    }

    pub(super) fn note(&self, event: Event) {
        self.inner.lock().unwrap().events.push(event);
    }

    pub(super) fn events(&self) -> Vec<Event> {
        self.inner.lock().unwrap().events.clone()
    }

    pub(super) fn image(&self) -> Image {
        self.inner.lock().unwrap().image.clone()
    }

    /// Does `act`, and notes `event`, unless calls fail by now.
    fn act<T>(&self, event: Event, act: impl FnOnce(&mut Image) -> io::Result<T>) -> io::Result<T> {
        let mut inner = self.inner.lock().unwrap();
        if let Some((from, fault)) = inner.fails
            && inner.events.len() >= from
            && fault.hits(&event)
        {
            return Err(inner.refuse(event, fault));
        }
        inner.events.push(event);
        act(&mut inner.image)
    }
}

impl Fault {
    fn hits(self, event: &Event) -> bool {
        self == Fault::Broken || matches!(event, Event::Write { .. } | Event::Create { .. })
    }
}

impl Inner {
    /// The error of a call that fails, and what it does all the same.
    fn refuse(&mut self, event: Event, fault: Fault) -> io::Error {
        let full = io::Error::from_raw_os_error(28);
        match (fault, event) {
            (Fault::Full, Event::Write { file, offset, bytes }) => {
                let bytes = bytes[..bytes.len() / 2].to_vec();
                put(self.image.files.entry(file).or_default(), offset, &bytes);
                self.events.push(Event::Write { file, offset, bytes });
                full
            }
            (Fault::Full, _) => full,
            _ => io::Error::from_raw_os_error(5),
        }
    }
}

impl Medium for Recorder {
    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.inner.lock().unwrap().image.names.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn Handle>> {
        let inner = self.inner.lock().unwrap();
        let file = *inner.image.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(Open { recorder: self.clone(), file }))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn Handle>> {
        let file = self.inner.lock().unwrap().image.files.keys().last().map_or(1, |last| last + 1);
        self.act(Event::Create { name: name.to_owned(), file }, |image| {
            image.names.insert(name.to_owned(), file);
            image.files.insert(file, Vec::new());
            Ok(())
        })?;
        Ok(Arc::new(Open { recorder: self.clone(), file }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.act(Event::Rename { from: from.to_owned(), to: to.to_owned() }, |image| image.rename(from, to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.act(Event::Remove { name: name.to_owned() }, |image| {
            image.names.remove(name).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
        })
    }

    fn sync_names(&self) -> io::Result<()> {
        self.act(Event::SyncNames, |_| Ok(()))
    }
}

impl Handle for Open {
    fn length(&self) -> io::Result<u64> {
        Ok(self.recorder.inner.lock().unwrap().image.files[&self.file].len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let inner = self.recorder.inner.lock().unwrap();
        let rest = inner.image.files[&self.file].get(offset as usize..).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let event = Event::Write { file: self.file, offset: offset as usize, bytes: bytes.to_vec() };
        self.recorder.act(event, |image| {
            put(image.files.entry(self.file).or_default(), offset as usize, bytes);
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.recorder.act(Event::Sync { file: self.file }, |_| Ok(()))
    }
}

impl Image {
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let file = self.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        self.names.insert(to.to_owned(), file);
        Ok(())
    }
}

/// What the disk holds for sure, and what was written since: after each event the power may go.
#[derive(Default)]
pub(super) struct Disks {
    durable: Image,
    writes: Vec<(usize, usize, Vec<u8>)>,
    names: Vec<Event>,
}

/// Which of the writes that were not synced the disk has.
#[derive(Debug, Clone, Copy)]
pub(super) enum Luck {
    None,
    All,
    /// Each with this chance in a hundred, sector by sector.
    Some(u32),
    /// Whole writes, each or not.
    Whole,
}

impl Disks {
    /// A disk that holds `image`.
    pub(super) fn starting(image: Image) -> Disks {
        Disks { durable: image, ..Disks::default() }
    }

    /// One more event has happened.
    pub(super) fn follow(&mut self, event: &Event) {
        match event {
            Event::Write { file, offset, bytes } => self.writes.push((*file, *offset, bytes.clone())),
            Event::Sync { file: synced } => {
                let (synced, rest) =
                    std::mem::take(&mut self.writes).into_iter().partition(|(file, ..)| file == synced);
                self.writes = rest;
                let synced: Vec<_> = synced;
                for (file, offset, bytes) in synced {
                    put(self.durable.files.entry(file).or_default(), offset, &bytes);
                }
            }
            Event::SyncNames => {
                for event in std::mem::take(&mut self.names) {
                    name(&mut self.durable, &event);
                }
            }
            Event::Create { .. } | Event::Rename { .. } | Event::Remove { .. } => {
                self.names.push(event.clone())
            }
            Event::Issued(_) | Event::Answered { .. } => {}
        }
    }

    /// What the disk holds when the power goes now.
    pub(super) fn cut(&self, luck: Luck, random: &mut StdRng) -> Image {
        let mut image = self.durable.clone();
        // Names go to disk in order.
        let names = match luck {
            Luck::None => 0,
            Luck::All => self.names.len(),
            _ => random.random_range(0..=self.names.len()),
        };
        self.names[..names].iter().for_each(|event| name(&mut image, event));
        // A sector holds the first so many of the writes to it, and all of their bytes.
        let mut kept: BTreeMap<(usize, usize), bool> = BTreeMap::new();
        for (file, offset, bytes) in &self.writes {
            let whole = random.random_bool(0.5);
            let mut at = 0;
            while at < bytes.len() {
                let place = offset + at;
                let next = ((place / SECTOR + 1) * SECTOR - offset).min(bytes.len());
                let keeps = kept.entry((*file, place / SECTOR)).or_insert(true);
                *keeps &= match luck {
                    Luck::None => false,
                    Luck::All => true,
                    Luck::Some(chance) => random.random_range(0..100) < chance,
                    Luck::Whole => whole,
                };
                if *keeps {
                    put(image.files.entry(*file).or_default(), place, &bytes[at..next]);
                }
                at = next;
            }
        }
        for file in image.names.values() {
            image.files.entry(*file).or_default();
        }
        image
    }
}

fn name(image: &mut Image, event: &Event) {
    match event {
        Event::Create { name, file } => drop(image.names.insert(name.clone(), *file)),
        Event::Rename { from, to } => image.rename(from, to).unwrap(),
        Event::Remove { name } => drop(image.names.remove(name)),
        _ => {}
    }
}

fn put(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    if content.len() < offset + bytes.len() {
        content.resize(offset + bytes.len(), 0);
    }
    content[offset..offset + bytes.len()].copy_from_slice(bytes);
}
