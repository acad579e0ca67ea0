//! Frames: what one group of transactions changed, with all that it takes to tell a whole frame from a torn one.
//!
//! A frame begins at a multiple of [`ALIGN`] and is, little endian:
//!
//! ```text
//!  0  magic        u32
//!  4  check        u32   CRC-32 of the bytes 8..56
//!  8  generation   u64   drawn anew for each file: frames of an older file that lie in reused blocks are foreign
//! 16  sequence     u64   1, 2, 3 ... within the file
//! 24  synced       u64   frames up to this one were on disk when this one was written
//! 32  length       u32   bytes of the body
//! 36  body check   u32   CRC-32 of the body
//! 40  previous     u32   `check` of the frame before
//! 44  zero         u32
//! 48  commit       u64   how many groups the store had written with this one, over all its files; 0 while one is made anew
//! 56  body: per change, key length u32, value length u32 (all ones: deleted), key, value
//! ```

use std::ops::Range;

use crate::disk::{Change, Changes};

/// Bytes of a frame's header.
pub(crate) const HEADER: usize = 56;
/// Where frames may begin.
pub(crate) const ALIGN: u64 = 8;
/// The longest body, in bytes: what a damaged length may make a reader allocate.
pub(crate) const MAX_BODY: usize = 256 << 20;

const MAGIC: u32 = u32::from_le_bytes(*b"rlog");
const DELETED: u32 = u32::MAX;
/// The lengths before each key and value.
const LENGTHS: usize = 8;

/// A frame's header, in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) generation: u64,
    pub(crate) sequence: u64,
    pub(crate) synced: u64,
    pub(crate) length: u32,
    pub(crate) body_check: u32,
    pub(crate) previous: u32,
    pub(crate) commit: u64,
}

/// A change within a body: the key, and where its value is.
pub(crate) struct Entry<'a> {
    pub(crate) key: &'a [u8],
    /// Within the body; `None` for a deletion.
    pub(crate) value: Option<Range<usize>>,
}

impl Header {
    /// The bytes on disk, and the check that the next frame repeats.
    pub(crate) fn encode(&self) -> ([u8; HEADER], u32) {
        let mut bytes = [0; HEADER];
        bytes[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.generation.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.synced.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.length.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.body_check.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.previous.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.commit.to_le_bytes());
        let check = crc32fast::hash(&bytes[8..]);
        bytes[4..8].copy_from_slice(&check.to_le_bytes());
        (bytes, check)
    }

    /// The header in `bytes` and its check, unless it is no whole header.
    pub(crate) fn decode(bytes: &[u8]) -> Option<(Header, u32)> {
        let bytes: &[u8; HEADER] = bytes.get(..HEADER)?.try_into().ok()?;
        let short = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let long = |at: usize| u64::from(short(at)) | u64::from(short(at + 4)) << 32;
        let check = short(4);
        if short(0) != MAGIC || check != crc32fast::hash(&bytes[8..]) {
            return None;
        }
        let header = Header {
            generation: long(8),
            sequence: long(16),
            synced: long(24),
            length: short(32),
            body_check: short(36),
            previous: short(40),
            commit: long(48),
        };
        (header.length as usize <= MAX_BODY).then_some((header, check))
    }
}

/// The bytes that a frame with a body of `length` takes.
pub(crate) fn size(length: usize) -> u64 {
    ((HEADER + length) as u64).next_multiple_of(ALIGN)
}

/// The bytes that a record takes in a body.
pub(crate) fn entry_size(key: &[u8], value: usize) -> u64 {
    (LENGTHS + key.len() + value) as u64
}

/// How long the body of `changes` is.
pub(crate) fn body_length(changes: &Changes) -> u64 {
    changes.iter().map(|(key, change)| entry_size(key, change.as_ref().map_or(0, Vec::len))).sum()
}

/// Appends one change to a body.
pub(crate) fn push(body: &mut Vec<u8>, key: &[u8], change: &Change) {
    let length = change.as_ref().map_or(DELETED, |value| value.len() as u32);
    body.extend_from_slice(&(key.len() as u32).to_le_bytes());
    body.extend_from_slice(&length.to_le_bytes());
    body.extend_from_slice(key);
    body.extend_from_slice(change.as_deref().unwrap_or_default());
}

/// The changes in a body; `None` when it is not made of whole ones.
pub(crate) fn entries(body: &[u8]) -> Option<Vec<Entry<'_>>> {
    let mut entries = Vec::new();
    let mut at = 0;
    while at < body.len() {
        let lengths = body.get(at..at + LENGTHS)?;
        let key_length = u32::from_le_bytes(lengths[..4].try_into().ok()?) as usize;
        let value_length = u32::from_le_bytes(lengths[4..].try_into().ok()?);
        at += LENGTHS;
        let key = body.get(at..at.checked_add(key_length)?)?;
        at += key_length;
        let value = match value_length {
            DELETED => None,
            length => Some(at..at.checked_add(length as usize)?),
        };
        if let Some(range) = &value {
            body.get(range.clone())?;
            at = range.end;
        }
        entries.push(Entry { key, value });
    }
    Some(entries)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header() -> Header {
        Header {
            generation: 7 << 40,
            sequence: 3,
            synced: 2,
            length: 9,
            body_check: 1,
            previous: 4,
            commit: 5,
        }
    }

    proptest! {
        #[test]
        fn a_header_with_any_bit_flipped_is_none(bit in 0..HEADER * 8) {
            let (mut bytes, check) = header().encode();
            prop_assert_eq!(Header::decode(&bytes), Some((header(), check)));
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(Header::decode(&bytes), None);
        }

        #[test]
        fn entries_are_what_was_pushed(
            changes in proptest::collection::vec((any::<Vec<u8>>(), any::<Option<Vec<u8>>>()), 0..6)
        ) {
            let mut body = Vec::new();
            changes.iter().for_each(|(key, change)| push(&mut body, key, change));
            let found = entries(&body).unwrap();
            let found: Vec<_> = found
                .iter()
                .map(|entry| (entry.key.to_vec(), entry.value.clone().map(|range| body[range].to_vec())))
                .collect();
            prop_assert_eq!(found, changes);
        }

        #[test]
        fn any_bytes_are_read_or_refused(body in any::<Vec<u8>>()) {
            let _ = entries(&body);
        }
    }
}
