//! Maps of sparse files, where they are not in pax records: behind GNU's old header, or before the data.

use std::io::BufRead;

use errors::{Error, Result};

use super::reader::{Reader, truncated};
use super::sparse::{self, Extent, MAX_EXTENTS};
use super::{BLOCK, number};

/// Reads the numbers of a map, a line each.
#[derive(Default)]
struct Numbers {
    read: Vec<u64>,
    digits: Vec<u8>,
}

impl<R: BufRead> Reader<R> {
    /// The four pieces in GNU's old header, and the blocks of 21 behind it.
    pub(super) fn old_sparse_map(&mut self, gnu: &tar::GnuHeader) -> Result<Vec<Extent>> {
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
    pub(super) fn map_in_data(&mut self) -> Result<Vec<Extent>> {
        let mut numbers = Numbers::default();
        while !numbers.is_complete()? {
            let mut block = Vec::with_capacity(BLOCK);
            self.data_up_to(BLOCK as u64, |piece| {
                block.extend_from_slice(piece);
                Ok(())
            })?;
            if block.len() < BLOCK {
                return Err(truncated());
            }
            for byte in block {
                numbers.take(byte)?;
            }
        }
        sparse::pair(&numbers.read[1..])
    }
}

impl Numbers {
    /// The first says how many pairs follow.
    fn is_complete(&self) -> Result<bool> {
        match self.read.first() {
            None => Ok(false),
            Some(pieces) if *pieces > MAX_EXTENTS as u64 => {
                Err(Error::invalid(format!("sparse file in more than {MAX_EXTENTS} pieces")))
            }
            Some(pieces) => Ok(self.read.len() as u64 > 2 * pieces),
        }
    }

    /// What follows the last number is padding.
    fn take(&mut self, byte: u8) -> Result<()> {
        if self.is_complete()? {
            return Ok(());
        }
        if byte == b'\n' {
            self.read.push(number::decimal(&self.digits, "GNU.sparse map")?);
            self.digits.clear();
            return Ok(());
        }
        self.digits.push(byte);
        if self.digits.len() > 20 {
            return Err(Error::invalid("invalid sparse map: number too long"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(text: &[u8]) -> Result<Vec<u64>> {
        let mut numbers = Numbers::default();
        text.iter().try_for_each(|byte| numbers.take(*byte))?;
        numbers.is_complete().map(|_| numbers.read)
    }

    #[test]
    fn reads_as_many_numbers_as_are_announced() {
        assert_eq!(numbers(b"1\n0\n5\n\0\0junk").unwrap(), [1, 0, 5]);
        assert_eq!(numbers(b"0\n\0\0").unwrap(), [0]);
        for bad in [&b"99999999\n"[..], b"1\nx\n", b"\n", b"000000000000000000000000"] {
            assert!(numbers(bad).is_err(), "{bad:?}");
        }
    }
}
