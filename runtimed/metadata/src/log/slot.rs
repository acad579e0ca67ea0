//! The head of the file: what file it is, and how long it was made.
//!
//! It is kept twice, in two pages, and written to one after the other: one of them is whole whatever happens. The file is
//! first made longer, and synced, and then the head says so: a file that is shorter than its head says was truncated.

use std::io;

use super::medium::Handle;

/// Where frames begin.
pub(crate) const FRAMES: u64 = 2 * PAGE;

const PAGE: u64 = 4096;
const MAGIC: [u8; 16] = *b"runtimed records";
/// The layout described in this crate.
pub(crate) const FORMAT: u32 = 2;
const LENGTH: usize = 48;

/// The head of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    /// Which layout.
    pub(crate) format: u32,
    /// How often it was written.
    pub(crate) count: u64,
    /// The number that all frames of this file bear.
    pub(crate) generation: u64,
    /// How many bytes the file has at least.
    pub(crate) room: u64,
}

impl Head {
    /// The newer of the two that is whole; `None` when neither is.
    pub(crate) fn read(file: &dyn Handle) -> io::Result<Option<Head>> {
        let mut found: Option<Head> = None;
        for page in 0..2 {
            let mut bytes = [0; LENGTH];
            if file.read_at(&mut bytes, page * PAGE)? == LENGTH
                && let Some(head) = Head::decode(&bytes)
                && found.is_none_or(|other| other.count < head.count)
            {
                found = Some(head);
            }
        }
        Ok(found)
    }

    /// Writes it over the older of the two; durable with the next sync.
    pub(crate) fn write(&self, file: &dyn Handle) -> io::Result<()> {
        file.write_at(&self.encode(), self.count % 2 * PAGE)
    }

    fn encode(&self) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        bytes[..16].copy_from_slice(&MAGIC);
        bytes[16..20].copy_from_slice(&self.format.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.count.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.generation.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.room.to_le_bytes());
        let check = crc32fast::hash(&bytes);
        bytes[20..24].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8; LENGTH]) -> Option<Head> {
        let long = |at: usize| <[u8; 8]>::try_from(&bytes[at..at + 8]).map(u64::from_le_bytes).ok();
        let format = u32::from_le_bytes(bytes[16..20].try_into().ok()?);
        let head = Head { format, count: long(24)?, generation: long(32)?, room: long(40)? };
        (head.encode() == *bytes).then_some(head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flipped_bit_shows() {
        let head = Head { format: FORMAT, count: 5, generation: 1 << 60, room: 1 << 20 };
        let bytes = head.encode();
        assert_eq!(Head::decode(&bytes), Some(head));
        for bit in 0..LENGTH * 8 {
            let mut bytes = bytes;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Head::decode(&bytes), None);
        }
    }
}
