//! Doors for tests: bytes as a broken disk, or another writer, may have left them.

use crate::Line;
use crate::record::Splitter;

/// The records of a log that is read in pieces of `step` bytes (at least 1). None is longer than what was read.
pub fn records(log: &[u8], step: usize) -> Vec<Line> {
    let mut splitter = Splitter::default();
    let mut lines = Vec::new();
    for piece in log.chunks(step.max(1)) {
        splitter.push(piece);
        lines.extend(std::iter::from_fn(|| splitter.next()));
    }
    lines.extend(splitter.finish());
    lines
}
