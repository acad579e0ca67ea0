//! The log: one file that groups of changes are appended to, and that is made anew when most of it is out of date.
//!
//! The file is longer than what is written: room is made beforehand by writing zeros, so that a commit overwrites blocks
//! that the file has already, and its fdatasync(2) has no block or size to record, only data to wait for.

pub(crate) mod frame;
pub(crate) mod medium;
pub(crate) mod scan;
pub(crate) mod slot;

use std::io;
use std::sync::Arc;

use errors::{Context, Error, Kind, Result};

use frame::{HEADER, Header};
use medium::{Handle, Medium};
use scan::{End, Frame, Tail};
use slot::{FORMAT, FRAMES, Head};

/// The log's name.
pub(crate) const NAME: &str = "log";
/// A log that is being made. It takes the other's place once it is whole and on disk; one that is found is nothing.
pub(crate) const NEW: &str = "log.new";

/// Room that only deletions may use: on a full disk things can still be removed.
const RESERVE: u64 = 32 << 10;
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// A log open for appending.
pub(crate) struct Log {
    file: Arc<dyn Handle>,
    /// How much room is made at once, in bytes.
    chunk: u64,
    /// As it is on disk.
    head: Head,
    /// How long the file is: at least what the head says.
    room: u64,
    end: End,
    /// Frames up to this one are on disk.
    synced: u64,
    /// The last frame that changes something.
    changed: u64,
}

/// A sync of a log: what it brings to disk.
pub(crate) struct Syncing {
    /// To call sync on.
    pub(crate) file: Arc<dyn Handle>,
    generation: u64,
    sequence: u64,
    room: u64,
}

/// Whether a frame may use the room kept back for deletions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// Leaves it.
    Usual,
    /// Uses it.
    Urgent,
}

impl Log {
    /// Opens the log there is, calling `each` with its frames. An error changes nothing on disk, and says what is wrong.
    pub(crate) fn open(
        medium: &dyn Medium,
        chunk: u64,
        each: impl FnMut(Frame<'_>) -> io::Result<()>,
    ) -> Result<Log> {
        let file = medium.open(NAME).context(|| "open the log")?;
        let head = read_head(&*file)?;
        let (end, tail) = scan::scan(&*file, &head, each).context(|| "read the log")?;
        match tail {
            Tail::Empty => {}
            Tail::Torn(last) => {
                tracing::warn!(
                    from = end.offset,
                    to = last,
                    "the end of the log was cut by a crash; nothing acknowledged was in it"
                );
                // Rests must not be taken for frames once others stand before them.
                fill(&*file, end.offset, last).context(|| "clear the log's torn end")?;
            }
            Tail::Damaged(damage) => {
                return Err(Error::new(Kind::DataLoss, damage.to_string()));
            }
        }
        // What was read may be in the cache alone, left there by a process that was killed.
        file.sync().context(|| "sync the log")?;
        let room = file.length().context(|| "stat the log")?;
        Ok(Log { file, chunk, head, room, end, synced: end.sequence, changed: end.sequence })
    }

    /// Begins a log under the name [`NEW`]; it is none before [`Log::finish`].
    pub(crate) fn begin(medium: &dyn Medium, chunk: u64) -> Result<Log> {
        let file = medium.create(NEW).context(|| format!("create {NEW}"))?;
        let generation = generation().context(|| "draw a number for the log")?;
        let head = Head { format: FORMAT, count: 0, generation, room: 0 };
        let end = End { offset: FRAMES, sequence: 0, check: 0, commit: 0 };
        Ok(Log { file, chunk, head, room: u64::MAX, end, synced: 0, changed: 0 })
    }

    /// Makes the log that was begun the one there is, durably. What was appended to it counts as on disk; it is what the store
    /// was after `commit` groups.
    pub(crate) fn finish(&mut self, medium: &dyn Medium, commit: u64) -> Result<()> {
        self.finish_lazily(commit)?;
        self.file.sync().context(|| format!("sync {NEW}"))?;
        self.synced = self.end.sequence;
        medium.rename(NEW, NAME).context(|| format!("rename {NEW} to {NAME}"))
    }

    /// The same without a wait for the disk, for a log that may be lost.
    pub(crate) fn finish_copy(&mut self, medium: &dyn Medium, commit: u64) -> Result<()> {
        self.finish_lazily(commit)?;
        medium.rename(NEW, NAME).context(|| format!("rename {NEW} to {NAME}"))
    }

    fn finish_lazily(&mut self, commit: u64) -> Result<()> {
        self.synced = self.end.sequence;
        self.end.commit = commit;
        self.mark().context(|| format!("write {NEW}"))?;
        let room = (self.end.offset + self.chunk).next_multiple_of(4096);
        fill(&*self.file, self.end.offset, room).context(|| format!("make room in {NEW}"))?;
        for _ in 0..2 {
            self.head = Head { count: self.head.count + 1, room, ..self.head };
            self.head.write(&*self.file).context(|| format!("write {NEW}"))?;
        }
        self.room = room;
        Ok(())
    }

    /// Appends a frame; once this returns, a kill of the process does not lose it. Returns where its body begins. After a
    /// failure the log is as it was.
    pub(crate) fn append(&mut self, body: &[u8], need: Need) -> io::Result<u64> {
        self.make_room(frame::size(body.len()), need)?;
        let at = self.write(body, self.end.commit + 1)?;
        self.changed = self.end.sequence;
        Ok(at)
    }

    /// Appends a frame of a log that is being made anew.
    pub(crate) fn copy(&mut self, body: &[u8]) -> io::Result<u64> {
        self.write(body, 0)
    }

    /// How many groups the store has written.
    pub(crate) fn commit(&self) -> u64 {
        self.end.commit
    }

    /// Says on disk how far the log is synced, for whoever finds it damaged. The mark itself is in no hurry.
    pub(crate) fn mark(&mut self) -> io::Result<()> {
        if self.end.offset + HEADER as u64 > self.room {
            return Ok(());
        }
        self.write(&[], self.end.commit).map(drop)
    }

    /// What to sync.
    pub(crate) fn to_sync(&self) -> Syncing {
        Syncing {
            file: self.file.clone(),
            generation: self.head.generation,
            sequence: self.end.sequence,
            room: self.room,
        }
    }

    /// What [`Log::to_sync`] told is on disk.
    pub(crate) fn synced(&mut self, syncing: &Syncing) {
        if syncing.generation != self.head.generation {
            return;
        }
        self.synced = self.synced.max(syncing.sequence);
        if syncing.room > self.head.room {
            let head = Head { count: self.head.count + 1, room: syncing.room, ..self.head };
            match head.write(&*self.file) {
                Ok(()) => self.head = head,
                // Of use only to notice that the file was truncated; the next sync comes here again.
                Err(error) => tracing::debug!(%error, "the log's head is out of date"),
            }
        }
    }

    /// Is everything on disk, and no frame says so yet?
    pub(crate) fn is_unmarked(&self) -> bool {
        self.end.sequence == self.changed && self.synced == self.changed
    }

    /// Is anything not on disk that would be missed?
    pub(crate) fn waits(&self) -> bool {
        self.changed > self.synced
    }

    /// The bytes that frames take.
    pub(crate) fn used(&self) -> u64 {
        self.end.offset - FRAMES
    }

    pub(crate) fn file(&self) -> Arc<dyn Handle> {
        self.file.clone()
    }

    fn write(&mut self, body: &[u8], commit: u64) -> io::Result<u64> {
        let header = Header {
            generation: self.head.generation,
            sequence: self.end.sequence + 1,
            synced: self.synced,
            length: body.len() as u32,
            body_check: crc32fast::hash(body),
            previous: self.end.check,
            commit,
        };
        let (bytes, check) = header.encode();
        let mut frame = Vec::with_capacity(HEADER + body.len());
        frame.extend_from_slice(&bytes);
        frame.extend_from_slice(body);
        self.file.write_at(&frame, self.end.offset)?;
        let at = self.end.offset + HEADER as u64;
        let offset = self.end.offset + frame::size(body.len());
        self.end = End { offset, sequence: header.sequence, check, commit };
        Ok(at)
    }

    fn make_room(&mut self, size: u64, need: Need) -> io::Result<()> {
        let reserve = if need == Need::Urgent { 0 } else { RESERVE };
        let least = (self.end.offset + size + reserve).next_multiple_of(4096);
        if least <= self.room {
            return Ok(());
        }
        let wanted = least.max(self.room + self.chunk);
        // Where there is no room for the chunk there may be for the frame.
        self.room = match fill(&*self.file, self.room, wanted) {
            Ok(()) => wanted,
            Err(_) => fill(&*self.file, self.room, least).map(|()| least)?,
        };
        Ok(())
    }
}

/// Reads and checks the head.
pub(crate) fn read_head(file: &dyn Handle) -> Result<Head> {
    let damaged = |text: String| Err(Error::new(Kind::DataLoss, text));
    let head = match Head::read(file).context(|| "read the log's head")? {
        None => return damaged("the log's head is damaged, or it is no log of this program".to_owned()),
        Some(head) if head.format != FORMAT => {
            return Err(Error::precondition(format!(
                "the log has format {}, and this program knows format {FORMAT} only",
                head.format
            )));
        }
        Some(head) => head,
    };
    let length = file.length().context(|| "stat the log")?;
    if length < head.room {
        return damaged(format!("the log was truncated: it has {length} bytes of {}", head.room));
    }
    Ok(head)
}

/// Writes zeros.
fn fill(file: &dyn Handle, from: u64, to: u64) -> io::Result<()> {
    let mut at = from;
    while at < to {
        let length = (to - at).min(ZEROS.len() as u64);
        file.write_at(&ZEROS[..length as usize], at)?;
        at += length;
    }
    Ok(())
}

/// A number that no other log has.
fn generation() -> io::Result<u64> {
    let mut bytes = [0; 8];
    io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}
