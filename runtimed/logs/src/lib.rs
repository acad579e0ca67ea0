//! Container output, kept by the shim in the CRI log format, read back here.
//!
//! ```text
//! <folder>/log      2024-05-06T07:08:09.123456789Z stdout F a whole line
//! <folder>/log.1    2024-05-06T07:08:01.000000001Z stderr P a piece of a line that goes on
//! <folder>/log.2    the higher the number, the older
//! ```
//!
//! [`read`] gives one record after the other, oldest first, across rotated files, and may go on as new ones
//! are written. Whatever the size of the log, no more than one record of it is in memory; a record longer
//! than any writer should make is handed on in pieces.

pub mod doors;
mod files;
mod lines;
mod record;
mod tail;
mod watch;

use std::time::SystemTime;

pub use lines::{Lines, read};

/// What a reader wants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Go on until the writer has ended.
    pub follow: bool,
    /// The last lines only; a line is what ends with a newline, in however many records, or what is not ended
    /// yet.
    pub tail: Option<u64>,
    /// Not before this time.
    pub since: Option<SystemTime>,
    /// Not after this time.
    pub until: Option<SystemTime>,
}

/// Which of a container's outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A line, or a piece of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When it was written.
    pub time: SystemTime,
    /// Where to.
    pub stream: Stream,
    /// The line goes on, or its newline was never written: the exact output is `bytes`, and a newline unless
    /// partial.
    pub partial: bool,
    /// What was written, without the newline.
    pub bytes: Vec<u8>,
}
