//! Reads a log from its beginning: every whole frame in order, and what comes after the last.
//!
//! A frame that is not whole ends the log if a power cut explains it: then nothing behind it was ever said to be on disk.
//! A later frame that says that the damaged one was on disk proves damage of another sort, and nothing is guessed then.

use std::fmt;
use std::io;

use super::frame::{self, ALIGN, HEADER, Header};
use super::medium::Handle;
use super::slot::{FORMAT, FRAMES, Head};

/// Bytes read at once in search of frames.
const WINDOW: usize = 64 << 10;

/// A whole frame, as it is found.
pub(crate) struct Frame<'a> {
    /// Where its body begins in the file.
    pub(crate) body_at: u64,
    pub(crate) body: &'a [u8],
    /// How many groups the store had written with this one; 0 while a log is made anew.
    pub(crate) commit: u64,
}

/// Where the whole frames end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct End {
    /// The offset behind the last whole frame.
    pub(crate) offset: u64,
    /// The last frame's number; 0 when there is none.
    pub(crate) sequence: u64,
    /// The last frame's check.
    pub(crate) check: u32,
    /// How many groups the store had written.
    pub(crate) commit: u64,
}

/// What stands behind the last whole frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Tail {
    /// Nothing.
    Empty,
    /// Rests of frames that were being written when the power went, up to this offset.
    Torn(u64),
    /// Frames that were on disk are not whole any more.
    Damaged(Damage),
}

/// What is wrong with a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Damage {
    /// The first byte of the frame that is not whole.
    pub(crate) offset: u64,
    /// The number of that frame.
    pub(crate) sequence: u64,
    /// The number of the next frame that is.
    pub(crate) next: u64,
    /// Where that one begins.
    pub(crate) next_at: u64,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the log is damaged at byte {}: frame {} was on disk and is not whole, and frame {} at byte {} follows",
            self.offset, self.sequence, self.next, self.next_at
        )
    }
}

/// Calls `each` with every whole frame up to the first that is not, and says what follows.
pub(crate) fn scan(
    file: &dyn Handle,
    head: &Head,
    mut each: impl FnMut(Frame<'_>) -> io::Result<()>,
) -> io::Result<(End, Tail)> {
    let mut end = End { offset: FRAMES, sequence: 0, check: 0, commit: 0 };
    let mut body = Vec::new();
    while let Some((header, check)) = read_frame(file, head, end.offset, &mut body)? {
        if header.sequence != end.sequence + 1 || header.previous != end.check {
            break;
        }
        each(Frame { body_at: end.offset + HEADER as u64, body: &body, commit: header.commit })?;
        let commit = end.commit.max(header.commit);
        end = End { offset: end.offset + frame::size(body.len()), sequence: header.sequence, check, commit };
    }
    let tail = classify(file, head, &end)?;
    Ok((end, tail))
}

/// Calls `each` with every whole frame anywhere, in order, whatever lies between them.
pub(crate) fn salvage(
    file: &dyn Handle,
    head: &Head,
    mut each: impl FnMut(Frame<'_>) -> io::Result<()>,
) -> io::Result<()> {
    let mut at = FRAMES;
    let mut body = Vec::new();
    loop {
        if let Some((header, _)) = read_frame(file, head, at, &mut body)? {
            each(Frame { body_at: at + HEADER as u64, body: &body, commit: header.commit })?;
            at += frame::size(body.len());
            continue;
        }
        let Some((found, _)) = next_header(file, Some(head.generation), at + ALIGN)? else { return Ok(()) };
        at = found;
    }
}

/// The head that a file must have had whose head is lost: told from the first frame that has a whole header.
pub(crate) fn guess_head(file: &dyn Handle) -> io::Result<Option<Head>> {
    let room = file.length()?;
    let found = next_header(file, None, FRAMES)?;
    Ok(found.map(|(_, header)| Head { format: FORMAT, count: 0, generation: header.generation, room }))
}

/// The frame at `offset`, with its body in `body`, if it is whole.
fn read_frame(
    file: &dyn Handle,
    head: &Head,
    offset: u64,
    body: &mut Vec<u8>,
) -> io::Result<Option<(Header, u32)>> {
    let mut bytes = [0; HEADER];
    if file.read_at(&mut bytes, offset)? < HEADER {
        return Ok(None);
    }
    let Some((header, check)) =
        Header::decode(&bytes).filter(|(found, _)| found.generation == head.generation)
    else {
        return Ok(None);
    };
    let length = header.length as usize;
    if offset + (HEADER + length) as u64 > file.length()? {
        return Ok(None);
    }
    body.clear();
    body.resize(length, 0);
    let read = file.read_at(body, offset + HEADER as u64)?;
    if read < length || crc32fast::hash(body) != header.body_check || frame::entries(body).is_none() {
        return Ok(None);
    }
    Ok(Some((header, check)))
}

/// Looks at what stands behind the whole frames.
fn classify(file: &dyn Handle, head: &Head, end: &End) -> io::Result<Tail> {
    let missing = end.sequence + 1;
    let mut at = end.offset;
    while let Some((found, header)) = next_header(file, Some(head.generation), at)? {
        if header.sequence > missing && header.synced >= missing {
            return Ok(Tail::Damaged(Damage {
                offset: end.offset,
                sequence: missing,
                next: header.sequence,
                next_at: found,
            }));
        }
        at = found + ALIGN;
    }
    Ok(match last_written(file, end.offset)? {
        Some(last) => Tail::Torn(last),
        None => Tail::Empty,
    })
}

/// The next whole header of frames of this generation, or of any, at or behind `from`.
fn next_header(file: &dyn Handle, generation: Option<u64>, from: u64) -> io::Result<Option<(u64, Header)>> {
    let mut at = from.next_multiple_of(ALIGN);
    let mut window = vec![0; WINDOW];
    loop {
        let read = file.read_at(&mut window, at)?;
        if read < HEADER {
            return Ok(None);
        }
        for start in (0..=read - HEADER).step_by(ALIGN as usize) {
            // Mostly zeros, or values: the check is worth computing only where a header may be.
            if window[start..start + 4] == *b"rlog"
                && let Some((header, _)) = Header::decode(&window[start..])
                && generation.is_none_or(|generation| generation == header.generation)
            {
                return Ok(Some((at + start as u64, header)));
            }
        }
        // The last bytes may begin a header whose rest is in the next window.
        at += (read - HEADER + 1).next_multiple_of(ALIGN as usize) as u64;
    }
}

/// The end of what is not zero behind `from`, if anything is.
fn last_written(file: &dyn Handle, from: u64) -> io::Result<Option<u64>> {
    let (mut at, mut last) = (from, None);
    let mut window = vec![0; WINDOW];
    loop {
        let read = file.read_at(&mut window, at)?;
        if read == 0 {
            return Ok(last);
        }
        if let Some(place) = window[..read].iter().rposition(|byte| *byte != 0) {
            last = Some(at + place as u64 + 1);
        }
        at += read as u64;
    }
}
