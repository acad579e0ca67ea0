//! tar: headers read into entries, entries written as headers. Every variant that layers come in: POSIX ustar and pax,
//! GNU long names and sparse files, V7.

mod entry;
mod extra;
mod header;
mod libarchive;
mod number;
mod pax;
mod reader;
mod sparse;
mod sparse_map;
mod writer;

pub(crate) use entry::{Entry, Kind, Time};
pub(crate) use reader::Reader;
pub(crate) use sparse::Extent;
pub(crate) use writer::Writer;

/// tar counts in blocks of this many bytes.
const BLOCK: usize = 512;
