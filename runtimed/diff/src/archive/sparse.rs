//! Files with holes: where their data go (GNU tar manual, "Storing Sparse Files").

use errors::{Error, Result};

use super::number;

/// The most pieces a file may be in: what is kept of them in memory stays small.
pub(crate) const MAX_EXTENTS: usize = 1 << 16;

/// A piece of data in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Where it goes.
    pub(crate) offset: u64,
    /// Its bytes.
    pub(crate) length: u64,
}

/// What the pax records of one entry say about holes, in any of the three versions of GNU's format.
#[derive(Debug, Default)]
pub(crate) struct Records {
    /// `GNU.sparse.major` and `minor`.
    pub(crate) version: (u64, u64),
    /// `GNU.sparse.size` (0.x) or `realsize` (1.0).
    pub(crate) size: Option<u64>,
    /// `GNU.sparse.map` (0.1), or `offset` and `numbytes` in turn (0.0).
    pub(crate) map: Option<Vec<u64>>,
}

impl Records {
    /// Takes in `GNU.sparse.KEY=VALUE`.
    pub(crate) fn take(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        match key {
            b"major" => self.version.0 = number::decimal(value, "GNU.sparse.major")?,
            b"minor" => self.version.1 = number::decimal(value, "GNU.sparse.minor")?,
            b"size" | b"realsize" => self.size = Some(number::decimal(value, "GNU.sparse.size")?),
            b"map" => {
                self.map = Some(
                    value
                        .split(|byte| *byte == b',')
                        .filter(|part| !part.is_empty())
                        .map(|part| number::decimal(part, "GNU.sparse.map"))
                        .collect::<Result<_>>()?,
                );
            }
            b"offset" | b"numbytes" => {
                self.map.get_or_insert_default().push(number::decimal(value, "GNU.sparse.offset")?);
            }
            _ => {}
        }
        Ok(())
    }

    /// Is the map at the beginning of the data?
    pub(crate) fn map_in_data(&self) -> bool {
        self.version == (1, 0)
    }
}

/// Makes extents of offsets and lengths in turn.
pub(crate) fn pair(numbers: &[u64]) -> Result<Vec<Extent>> {
    if !numbers.len().is_multiple_of(2) {
        return Err(Error::invalid("invalid sparse map: an offset without a length"));
    }
    Ok(numbers.chunks_exact(2).map(|pair| Extent { offset: pair[0], length: pair[1] }).collect())
}

/// Checks that the extents are in order, inside the file, and as long together as the data that are there for them.
pub(crate) fn check(extents: &[Extent], size: u64, data: u64) -> Result<()> {
    let wrong = |how: &str| Err(Error::invalid(format!("invalid sparse map: {how}")));
    if extents.len() > MAX_EXTENTS {
        return wrong(&format!("more than {MAX_EXTENTS} pieces"));
    }
    let (mut end, mut sum) = (0u64, 0u64);
    for extent in extents {
        if extent.offset < end {
            return wrong("pieces overlap or are out of order");
        }
        match extent.offset.checked_add(extent.length) {
            Some(next) if next <= size => end = next,
            _ => return wrong("a piece lies outside the file"),
        }
        sum += extent.length;
    }
    if sum != data {
        return wrong(&format!("pieces of {sum} bytes for {data} bytes of data"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_maps_that_lie() {
        let extents = |numbers: &[u64]| pair(numbers).unwrap();
        assert!(check(&extents(&[0, 5, 10, 5]), 15, 10).is_ok());
        assert!(check(&extents(&[0, 5, 4, 5]), 15, 10).is_err());
        assert!(check(&extents(&[0, 5, 10, 6]), 15, 11).is_err());
        assert!(check(&extents(&[0, 5]), 15, 6).is_err());
        assert!(check(&extents(&[u64::MAX, 5]), u64::MAX, 5).is_err());
        assert!(pair(&[1]).is_err());
    }
}
