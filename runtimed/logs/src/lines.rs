//! One record after the other, across rotations, until there are no more.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::SystemTime;

use errors::{Context, Error, Kind, Result};

use crate::files::{self, LogFile};
use crate::record::Splitter;
use crate::watch::Watch;
use crate::{Line, Options, tail};

/// How much is read at a time.
const CHUNK: usize = 32 << 10;

/// A log being read; see [`read`].
pub struct Lines {
    path: PathBuf,
    options: Options,
    splitter: Splitter,
    /// The torn end of the file before.
    torn: Option<Line>,
    current: Option<LogFile>,
    /// What comes after the current file.
    newer: VecDeque<LogFile>,
    /// Only when following.
    watch: Option<Watch>,
    ended: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// The writer has ended: whatever there will be is there.
    over: bool,
    done: bool,
}

/// What to do with a line.
enum Verdict {
    Give,
    Skip,
    Stop,
}

/// Opens the log at `path` and its rotated files. A log that does not exist is empty, and may come when it is
/// followed.
///
/// Following ends when `ended` has resolved and everything was read; so it must resolve after the writer has
/// written all. Without following, `ended` is not looked at.
///
/// # Errors
/// If a file, or when following the log's folder, cannot be opened.
pub async fn read(
    path: impl Into<PathBuf>,
    options: Options,
    ended: impl Future<Output = ()> + Send + 'static,
) -> Result<Lines> {
    let path = path.into();
    // Watched before it is opened, so that nothing happens in between.
    let watch = if options.follow { Some(Watch::new(&path)?) } else { None };
    let (from, since, lines) = (path.clone(), options.since, options.tail);
    let files = blocking(move || {
        let files = files::all(&from, since)?;
        match lines {
            Some(lines) => tail::keep(files, lines).context(|| format!("read the end of {}", from.display())),
            None => Ok(files),
        }
    })
    .await?;
    Ok(Lines {
        path,
        options,
        splitter: Splitter::default(),
        torn: None,
        current: None,
        newer: files.into(),
        watch,
        ended: Box::pin(ended),
        over: false,
        done: false,
    })
}

impl Lines {
    /// The next line, or piece of one; `None` after the last. Dropping the future loses nothing.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub async fn next(&mut self) -> Result<Option<Line>> {
        while !self.done {
            let line = match self.torn.take().or_else(|| self.splitter.next()) {
                Some(line) => line,
                None if self.fill().await? || self.advance().await? => continue,
                None if self.watch.is_some() && !self.over => {
                    self.wait().await?;
                    continue;
                }
                None => {
                    self.done = true;
                    match self.splitter.finish() {
                        Some(line) => line,
                        None => break,
                    }
                }
            };
            match self.judge(&line) {
                Verdict::Give => return Ok(Some(line)),
                Verdict::Skip => {}
                Verdict::Stop => self.done = true,
            }
        }
        Ok(None)
    }

    fn judge(&self, line: &Line) -> Verdict {
        if self.options.until.is_some_and(|until| line.time > until) {
            return Verdict::Stop;
        }
        if self.options.since.is_some_and(|since| line.time < since) {
            return Verdict::Skip;
        }
        Verdict::Give
    }

    /// Reads on in the current file; false at its end.
    async fn fill(&mut self) -> Result<bool> {
        let Some(mut file) = self.current.clone() else { return Ok(false) };
        let path = self.path.clone();
        let (file, truncated, bytes) = blocking(move || {
            let mut buffer = vec![0; CHUNK];
            let (truncated, read) =
                file.read(&mut buffer).context(|| format!("read log {}", path.display()))?;
            buffer.truncate(read);
            Ok((file, truncated, buffer))
        })
        .await?;
        self.current = Some(file);
        if truncated {
            self.splitter.clear();
        }
        self.splitter.push(&bytes);
        Ok(!bytes.is_empty())
    }

    /// Goes on to the next file. When there is none known, looks whether the log was rotated; the current
    /// file is then read once more before it is left, since only now it is certain that nobody writes to it.
    async fn advance(&mut self) -> Result<bool> {
        if let Some(next) = self.newer.pop_front() {
            // A record does not go on in another file.
            self.torn = self.splitter.finish();
            self.splitter.clear();
            self.current = Some(next);
            return Ok(true);
        }
        if self.watch.is_none() {
            return Ok(false);
        }
        let (path, current) = (self.path.clone(), self.current.clone());
        self.newer = blocking(move || files::newer_than(&path, current.as_ref())).await?.into();
        Ok(!self.newer.is_empty())
    }

    /// Waits until there may be more, or there will be nothing more.
    async fn wait(&mut self) -> Result<()> {
        let Some(watch) = &self.watch else { return Ok(()) };
        let until = self.options.until;
        tokio::select! {
            changed = watch.changed() => self.over = !changed?,
            () = &mut self.ended => self.over = true,
            () = passed(until) => self.over = true,
        }
        Ok(())
    }
}

/// Resolves when the time has come; never, if there is none.
async fn passed(until: Option<SystemTime>) {
    match until {
        // A time that has passed is no reason to wait.
        Some(until) => tokio::time::sleep(until.duration_since(SystemTime::now()).unwrap_or_default()).await,
        None => std::future::pending().await,
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(Error::with_source(Kind::Internal, "read a log", error)))
}
