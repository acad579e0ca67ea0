//! Starts writing a file's pages to disk before anybody waits for them (sync_file_range(2)).

use std::os::fd::{AsRawFd, BorrowedFd};

/// How much is written before it is worth starting: enough for large requests to the disk.
const STEP: u64 = 8 << 20;

/// Keeps the pages of one growing file on their way to disk, so that the fsync at its end has little left to do.
/// Only ever a hint: nothing is promised before that fsync.
#[derive(Debug, Default)]
pub struct Writeback {
    started: u64,
}

impl Writeback {
    /// The file has grown, or was cut back, to `size` bytes.
    pub fn grown(&mut self, file: BorrowedFd<'_>, size: u64) {
        if size < self.started {
            self.started = size;
        }
        if size - self.started < STEP {
            return;
        }
        let (Ok(offset), Ok(length)) = (i64::try_from(self.started), i64::try_from(size - self.started))
        else {
            return;
        };
        // SAFETY: the call takes numbers only, and the descriptor is open for as long as it is borrowed.
        unsafe { libc::sync_file_range(file.as_raw_fd(), offset, length, libc::SYNC_FILE_RANGE_WRITE) };
        // Failed or not: pages that stay behind are the fsync's.
        self.started = size;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::fd::AsFd as _;

    use super::*;

    #[test]
    fn follows_growth_and_truncation() {
        let mut file = tempfile::tempfile().unwrap();
        let mut writeback = Writeback::default();
        file.write_all(&vec![1; STEP as usize]).unwrap();
        writeback.grown(file.as_fd(), STEP - 1);
        assert_eq!(writeback.started, 0);
        writeback.grown(file.as_fd(), STEP);
        assert_eq!(writeback.started, STEP);
        writeback.grown(file.as_fd(), 3);
        assert_eq!(writeback.started, 3);
    }
}
