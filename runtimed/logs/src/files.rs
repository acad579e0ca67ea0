//! A log's files: the current one and those it was rotated to. All calls block on the file system.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use errors::{Context, Result};

/// Nobody keeps more rotated files than this.
const MOST: u32 = 1000;

/// An open file of a log: it stays the same file however often it is renamed.
#[derive(Debug, Clone)]
pub(crate) struct LogFile {
    file: Arc<File>,
    id: (u64, u64),
    /// Up to where it was read.
    pub(crate) offset: u64,
}

impl LogFile {
    fn open(path: &Path) -> Result<Option<LogFile>> {
        let shown = || format!("open log {}", path.display());
        match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).context(shown),
            Ok(file) => {
                let meta = file.metadata().context(shown)?;
                Ok(Some(LogFile { file: Arc::new(file), id: (meta.dev(), meta.ino()), offset: 0 }))
            }
        }
    }

    /// Reads on from the offset into `buffer`. A file that has become shorter is read from its beginning:
    /// then the answer begins with true.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<(bool, usize)> {
        let read = self.file.read_at(buffer, self.offset)?;
        self.offset += read as u64;
        if read > 0 || self.file.metadata()?.len() >= self.offset {
            return Ok((false, read));
        }
        self.offset = self.file.read_at(buffer, 0)? as u64;
        Ok((true, self.offset as usize))
    }

    /// Reads at `offset`; fewer bytes only at the end.
    pub(crate) fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.file.read_at(&mut buffer[filled..], offset + filled as u64)? {
                0 => break,
                read => filled += read,
            }
        }
        Ok(filled)
    }

    /// How long it is now.
    pub(crate) fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn modified(&self) -> io::Result<SystemTime> {
        self.file.metadata()?.modified()
    }
}

/// All files of the log, oldest first. Those that were last written before `since` are left out.
pub(crate) fn all(path: &Path, since: Option<SystemTime>) -> Result<Vec<LogFile>> {
    let mut files = newer_than(path, None)?;
    if let Some(since) = since {
        let old =
            files.iter().take_while(|file| file.modified().is_ok_and(|modified| modified < since)).count();
        // The current one may be written to.
        files.drain(..old.min(files.len().saturating_sub(1)));
    }
    Ok(files)
}

/// The files that came after `known`, oldest first; all, if it is none of them (any more).
///
/// The current file is opened first. What is rotated meanwhile is then met again one number higher, and known
/// by its inode.
pub(crate) fn newer_than(path: &Path, known: Option<&LogFile>) -> Result<Vec<LogFile>> {
    let mut files: Vec<LogFile> = Vec::new();
    let names = std::iter::once(path.to_owned()).chain((1..=MOST).map(|number| rotated(path, number)));
    for (number, name) in names.enumerate() {
        match LogFile::open(&name)? {
            Some(file) if known.is_some_and(|known| known.id == file.id) => break,
            Some(file) if files.iter().any(|met| met.id == file.id) => {}
            Some(file) => files.push(file),
            // Between two steps of a rotation there is no current file.
            None if number == 0 => {}
            None => break,
        }
    }
    files.reverse();
    Ok(files)
}

fn rotated(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn contents(files: &[LogFile]) -> Vec<String> {
        let read = |file: &LogFile| {
            let mut buffer = [0; 100];
            let size = file.read_at(&mut buffer, 0).unwrap();
            String::from_utf8(buffer[..size].to_vec()).unwrap()
        };
        files.iter().map(read).collect()
    }

    #[test]
    fn rotated_files_are_older() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        assert_eq!(contents(&all(&path, None).unwrap()), Vec::<String>::new());
        for (name, content) in [("log", "new"), ("log.1", "old"), ("log.2", "older"), ("log.4", "not ours")] {
            fs::write(folder.path().join(name), content).unwrap();
        }
        let files = all(&path, None).unwrap();
        assert_eq!(contents(&files), ["older", "old", "new"]);
        assert_eq!(contents(&newer_than(&path, Some(&files[1])).unwrap()), ["new"]);
        assert_eq!(contents(&newer_than(&path, Some(&files[2])).unwrap()), Vec::<String>::new());
        fs::remove_file(&path).unwrap();
        assert_eq!(contents(&newer_than(&path, Some(&files[0])).unwrap()), ["old"]);
    }

    #[test]
    fn files_from_before_are_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        for name in ["log", "log.1"] {
            fs::write(folder.path().join(name), name).unwrap();
        }
        let later = SystemTime::now() + std::time::Duration::from_secs(10);
        assert_eq!(contents(&all(&path, Some(later)).unwrap()), ["log"]);
        assert_eq!(contents(&all(&path, Some(SystemTime::UNIX_EPOCH)).unwrap()), ["log.1", "log"]);
    }
}
