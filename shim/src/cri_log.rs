//! Container output kept in the CRI log format, and rotated (Kubernetes' CRI logging design):
//!
//! ```text
//! 2024-05-06T07:08:09.123456789Z stdout F a whole line
//! 2024-05-06T07:08:09.123456789Z stderr P a piece of a line that goes on
//! ```
//!
//! A tag P says that the line's end is still to come: in the next record of the stream, or, for output that ends
//! without a newline, never. So the exact bytes can be told from the records.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use time::OffsetDateTime;

/// The longest content of a record.
pub(crate) const LONGEST: usize = 16 << 10;

/// Which of the two outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

/// How large a log may become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Bytes after which a file is rotated; `None` for never.
    pub(crate) max_size: Option<u64>,
    /// Files kept, the current one included; at least 1.
    pub(crate) max_files: u32,
}

/// Cuts one stream into records. Pure.
#[derive(Debug)]
pub(crate) struct Framer {
    stream: Stream,
    /// The beginning of a line whose end has not come.
    begun: Vec<u8>,
}

/// The current file and its rotated predecessors `<path>.1`, `<path>.2`, the youngest first.
#[derive(Debug)]
pub(crate) struct LogFile {
    path: PathBuf,
    limits: Limits,
    /// Made with the first record: many a container never says anything.
    file: Option<File>,
    size: u64,
    /// Whole records not yet written.
    pending: Vec<u8>,
}

// === impl Framer ===

impl Framer {
    pub(crate) fn new(stream: Stream) -> Framer {
        Framer { stream, begun: Vec::new() }
    }

    /// Takes the next piece of output and emits every record it completes.
    pub(crate) fn feed(&mut self, at: SystemTime, mut output: &[u8], mut emit: impl FnMut(&[u8])) {
        let stamp = stamp(at);
        while !output.is_empty() {
            let room = LONGEST - self.begun.len();
            let window = &output[..output.len().min(room)];
            match window.iter().position(|byte| *byte == b'\n') {
                Some(end) => {
                    self.emit(&stamp, 'F', &window[..end], &mut emit);
                    output = &output[end + 1..];
                }
                // A line of exactly the longest size is whole if its newline follows.
                None if window.len() == room && output.get(room) == Some(&b'\n') => {
                    self.emit(&stamp, 'F', window, &mut emit);
                    output = &output[room + 1..];
                }
                None if window.len() == room => {
                    self.emit(&stamp, 'P', window, &mut emit);
                    output = &output[room..];
                }
                None => {
                    self.begun.extend_from_slice(window);
                    output = &[];
                }
            }
        }
    }

    /// The output has ended: what has begun is emitted as it stands.
    pub(crate) fn finish(&mut self, at: SystemTime, mut emit: impl FnMut(&[u8])) {
        if !self.begun.is_empty() {
            self.emit(&stamp(at), 'P', &[], &mut emit);
        }
        self.begun = Vec::new();
    }

    fn emit(&mut self, stamp: &str, tag: char, rest: &[u8], emit: &mut impl FnMut(&[u8])) {
        let stream = match self.stream {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        };
        let mut record = format!("{stamp} {stream} {tag} ").into_bytes();
        record.extend_from_slice(&self.begun);
        record.extend_from_slice(rest);
        record.push(b'\n');
        emit(&record);
        self.begun.clear();
    }
}

/// RFC 3339 with nine digits, in UTC.
fn stamp(at: SystemTime) -> String {
    let at = OffsetDateTime::from(at);
    let (date, (hour, minute, second, nanos)) = (at.date(), at.to_hms_nano());
    let month = u8::from(date.month());
    format!("{:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z", date.year(), date.day())
}

// === impl LogFile ===

impl LogFile {
    /// Opens the log for appending. One that is not there is made, with its directory, when there is something to write.
    ///
    /// # Errors
    /// Whatever the filesystem says.
    pub(crate) fn open(path: &Path, limits: Limits) -> io::Result<LogFile> {
        let mut log = LogFile { path: path.to_owned(), limits, file: None, size: 0, pending: Vec::new() };
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            _ => drop(log.file()?),
        }
        Ok(log)
    }

    fn file(&mut self) -> io::Result<&mut File> {
        match self.file {
            Some(ref mut file) => Ok(file),
            None => {
                if let Some(dir) = self.path.parent() {
                    fs::create_dir_all(dir)?;
                }
                let file = append(&self.path)?;
                let found = file.metadata()?;
                self.size = found.len();
                if !found.is_file() {
                    // A device, say, which must not make way for a file.
                    self.limits.max_size = None;
                }
                Ok(self.file.insert(file))
            }
        }
    }

    /// Takes a record. It may wait in memory until [`flush`](LogFile::flush).
    ///
    /// # Errors
    /// Fails if the file must be rotated and cannot; the record is taken nevertheless.
    pub(crate) fn append(&mut self, record: &[u8]) -> io::Result<()> {
        let mut result = Ok(());
        let so_far = self.size + self.pending.len() as u64;
        if so_far > 0 && self.limits.max_size.is_some_and(|max| so_far + record.len() as u64 > max) {
            result = self.flush().and_then(|()| self.rotate());
        }
        self.pending.extend_from_slice(record);
        result
    }

    /// Writes what was appended.
    ///
    /// # Errors
    /// Fails if the disk is full, say; the records are lost then, since the container must not wait for a
    /// disk.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        let pending = std::mem::take(&mut self.pending);
        if pending.is_empty() {
            return Ok(());
        }
        let file = self.file()?;
        let result = file.write_all(&pending);
        // After a failed write the size is what the file says.
        let there = result.as_ref().err().and_then(|_| file.metadata().ok()).map(|meta| meta.len());
        self.size = there.unwrap_or(match result {
            Ok(()) => self.size + pending.len() as u64,
            Err(_) => self.size,
        });
        result
    }

    /// Goes on in a new file if somebody moved the current one away.
    ///
    /// # Errors
    /// Whatever the filesystem says.
    pub(crate) fn reopen(&mut self) -> io::Result<()> {
        self.flush()?;
        let Some(mine) = &self.file else { return Ok(()) };
        let mine = mine.metadata()?;
        match fs::metadata(&self.path) {
            Ok(theirs) if (theirs.dev(), theirs.ino()) == (mine.dev(), mine.ino()) => Ok(()),
            _ => {
                self.file = None;
                self.file().map(drop)
            }
        }
    }

    fn rotate(&mut self) -> io::Result<()> {
        let rotated = |number: u32| PathBuf::from(format!("{}.{number}", self.path.display()));
        if self.limits.max_files <= 1 {
            self.file()?.set_len(0)?;
            self.size = 0;
            return Ok(());
        }
        for number in (1..self.limits.max_files - 1).rev() {
            match fs::rename(rotated(number), rotated(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(&self.path, rotated(1))?;
        self.file = None;
        self.file().map(drop)
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(pieces: &[&[u8]]) -> Vec<String> {
        let mut framer = Framer::new(Stream::Stdout);
        let mut records = Vec::new();
        for piece in pieces {
            framer.feed(SystemTime::UNIX_EPOCH, piece, |record| records.push(record.to_vec()));
        }
        framer.finish(SystemTime::UNIX_EPOCH, |record| records.push(record.to_vec()));
        records.into_iter().map(|record| String::from_utf8_lossy(&record).into_owned()).collect()
    }

    #[test]
    fn what_is_no_file_is_not_rotated() {
        use std::os::unix::fs::FileTypeExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("null");
        std::os::unix::fs::symlink("/dev/null", &path).unwrap();
        let limits = Limits { max_size: Some(4), max_files: 3 };
        let mut log = LogFile::open(&path, limits).unwrap();
        for _ in 0..10 {
            log.append(b"record").unwrap();
            log.flush().unwrap();
        }
        assert!(fs::metadata(&path).unwrap().file_type().is_char_device());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn lines_become_records() {
        let records = frame(&[b"a\nb", b"c\n\nend"]);
        let stamp = "1970-01-01T00:00:00.000000000Z";
        let expected = ["stdout F a\n", "stdout F bc\n", "stdout F \n", "stdout P end\n"];
        assert_eq!(records, expected.map(|record| format!("{stamp} {record}")));
    }

    #[test]
    fn long_lines_are_cut_and_a_line_of_the_longest_size_is_not() {
        let long = vec![b'x'; LONGEST + 1];
        let tags =
            |records: Vec<String>| -> String { records.iter().map(|record| &record[38..39]).collect() };
        assert_eq!(tags(frame(&[&long, b"\n"])), "PF");
        let exact = [&long[1..], b"\n"].concat();
        assert_eq!(tags(frame(&[&exact])), "F");
        assert_eq!(tags(frame(&[&[&long[1..], &b"y\n"[..]].concat()])), "PF");
    }

    /// What a reader makes of records.
    fn contents(records: &[Vec<u8>]) -> Vec<u8> {
        let mut output = Vec::new();
        for record in records {
            let tag = record[38];
            output.extend_from_slice(&record[40..record.len() - 1]);
            if tag == b'F' {
                output.push(b'\n');
            }
        }
        output
    }

    proptest! {
        #[test]
        fn no_byte_is_lost_or_made_up(lines in prop::collection::vec((0..40_000usize, any::<bool>()), 0..8), cut in 1..50_000usize) {
            let mut output = Vec::new();
            for (length, ended) in lines {
                output.extend((0..length).map(|at| b'a' + (at % 26) as u8));
                output.extend(ended.then_some(b'\n'));
            }
            let mut framer = Framer::new(Stream::Stderr);
            let mut records = Vec::new();
            for piece in output.chunks(cut) {
                framer.feed(SystemTime::UNIX_EPOCH, piece, |record| records.push(record.to_vec()));
            }
            framer.finish(SystemTime::UNIX_EPOCH, |record| records.push(record.to_vec()));
            for record in &records {
                prop_assert!(record.len() <= LONGEST + 41);
                prop_assert_eq!(record.iter().filter(|byte| **byte == b'\n').count(), 1);
            }
            prop_assert!(contents(&records) == output);
        }
    }

    fn names(dir: &Path) -> Vec<(String, u64)> {
        let entry = |entry: io::Result<fs::DirEntry>| {
            let entry = entry.unwrap();
            (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().len())
        };
        let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(entry).collect();
        names.sort();
        names
    }

    #[test]
    fn files_are_rotated_between_records() {
        let dir = tempfile::tempdir().unwrap();
        let limits = Limits { max_size: Some(10), max_files: 3 };
        let mut log = LogFile::open(&dir.path().join("sub/log"), limits).unwrap();
        for record in [b"1aaa\n", b"2bbb\n", b"3ccc\n", b"4ddd\n", b"5eee\n", b"6fff\n", b"7ggg\n"] {
            log.append(record).unwrap();
        }
        log.flush().unwrap();
        let dir = dir.path().join("sub");
        assert_eq!(names(&dir), [("log".into(), 5), ("log.1".into(), 10), ("log.2".into(), 10)]);
        assert_eq!(fs::read(dir.join("log")).unwrap(), b"7ggg\n");
        assert_eq!(fs::read(dir.join("log.2")).unwrap(), b"3ccc\n4ddd\n");
    }

    #[test]
    fn who_says_nothing_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut log =
            LogFile::open(&dir.path().join("sub/log"), Limits { max_size: None, max_files: 1 }).unwrap();
        log.flush().unwrap();
        log.reopen().unwrap();
        assert!(!dir.path().join("sub").exists());
        log.append(b"word\n").unwrap();
        log.flush().unwrap();
        assert_eq!(fs::read(dir.path().join("sub/log")).unwrap(), b"word\n");
    }

    #[test]
    fn one_file_starts_over_and_a_record_too_large_is_kept_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = LogFile::open(&path, Limits { max_size: Some(4), max_files: 1 }).unwrap();
        log.append(b"too large\n").unwrap();
        log.flush().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"too large\n");
        log.append(b"new\n").unwrap();
        log.flush().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new\n");
        assert_eq!(names(dir.path()).len(), 1);
    }

    #[test]
    fn a_log_moved_away_is_begun_anew_on_request() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = LogFile::open(&path, Limits { max_size: None, max_files: 1 }).unwrap();
        log.append(b"old\n").unwrap();
        log.flush().unwrap();
        fs::rename(&path, dir.path().join("moved")).unwrap();
        log.reopen().unwrap();
        log.append(b"new\n").unwrap();
        log.flush().unwrap();
        assert_eq!(fs::read(dir.path().join("moved")).unwrap(), b"old\n");
        assert_eq!(fs::read(&path).unwrap(), b"new\n");
    }
}
