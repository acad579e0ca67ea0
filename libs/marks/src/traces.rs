//! The daemon's folder of traces: a file each, made when a request asks for it, fetched once.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::trace::Trace;

/// How many may wait to be fetched; beyond, the oldest go.
const LIMIT: usize = 32;
/// The longest id.
const ID_LIMIT: usize = 64;

/// The folder, and the traces in it.
#[derive(Debug)]
pub struct Traces {
    folder: PathBuf,
    /// Oldest first.
    open: Mutex<VecDeque<(String, Trace)>>,
}

impl Traces {
    /// An empty folder at `folder`; traces of an earlier daemon go.
    ///
    /// # Errors
    /// If it cannot be emptied or made.
    pub fn at(folder: &Path) -> io::Result<Traces> {
        match std::fs::remove_dir_all(folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?,
        }
        Ok(Traces { folder: folder.to_owned(), open: Mutex::default() })
    }

    /// The trace `id`, which may be under way already: one command makes many calls.
    ///
    /// # Errors
    /// `InvalidInput` if `id` is not hexadecimal; those of open(2).
    pub fn trace(&self, id: &str) -> io::Result<Trace> {
        let hexadecimal = id.bytes().all(|byte| byte.is_ascii_hexdigit());
        if id.is_empty() || id.len() > ID_LIMIT || !hexadecimal {
            let text = format!("the id of a trace is 1 to {ID_LIMIT} hexadecimal digits");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let mut open = self.open();
        if let Some((_, trace)) = open.iter().find(|(other, _)| other == id) {
            return Ok(trace.clone());
        }
        while open.len() >= LIMIT {
            let Some((old, trace)) = open.pop_front() else { break };
            trace.close();
            std::fs::remove_file(self.folder.join(old))?;
        }
        let path = self.folder.join(id);
        File::options().write(true).create_new(true).mode(0o600).open(&path)?;
        let trace = Trace::open(&path)?;
        open.push_back((id.to_owned(), trace.clone()));
        Ok(trace)
    }

    /// Ends the trace `id` and takes it away: its lines, and those of other programs so far. `None` if there is no such trace.
    ///
    /// # Errors
    /// If its file cannot be read.
    pub fn take(&self, id: &str) -> io::Result<Option<Vec<u8>>> {
        let mut open = self.open();
        let Some(at) = open.iter().position(|(other, _)| other == id) else { return Ok(None) };
        let Some((_, trace)) = open.remove(at) else { return Ok(None) };
        trace.close();
        let path = self.folder.join(id);
        let lines = std::fs::read(&path)?;
        std::fs::remove_file(&path)?;
        Ok(Some(lines))
    }

    fn open(&self) -> MutexGuard<'_, VecDeque<(String, Trace)>> {
        // Whole between two statements.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(folder: &Path) -> usize {
        std::fs::read_dir(folder).unwrap().count()
    }

    #[test]
    fn a_trace_is_made_once_and_fetched_once() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("traces");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("stale"), "").unwrap();
        let traces = Traces::at(&folder).unwrap();
        assert_eq!(files(&folder), 0);
        let first = traces.trace("0a").unwrap();
        assert_eq!(traces.trace("0a").unwrap().path(), first.path());
        std::fs::write(folder.join("0a"), "a line\n").unwrap();
        assert_eq!(traces.take("0a").unwrap().unwrap(), b"a line\n");
        assert_eq!(traces.take("0a").unwrap(), None);
        assert_eq!(files(&folder), 0);
        for id in ["", "../0a", "0A/1", "zz", &"0".repeat(65)] {
            assert_eq!(traces.trace(id).unwrap_err().kind(), io::ErrorKind::InvalidInput, "{id}");
        }
    }

    #[test]
    fn the_oldest_go() {
        let dir = tempfile::tempdir().unwrap();
        let traces = Traces::at(dir.path()).unwrap();
        for number in 0..=LIMIT {
            traces.trace(&format!("{number:x}")).unwrap();
        }
        assert_eq!(files(dir.path()), LIMIT);
        assert_eq!(traces.take("0").unwrap(), None);
    }
}
