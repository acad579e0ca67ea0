//! The store's files: an ordered map from bytes to bytes, changed in atomic groups.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use errors::{Context, Error, Kind, Result};

use crate::lock::Lock;
use crate::log::frame;
use crate::log::medium::{Folder, Medium};
use crate::log::{self, Log, Need};
use crate::map::Map;

/// A value, or `None` for a deletion.
pub(crate) type Change = Option<Vec<u8>>;
/// Changes by key.
pub(crate) type Changes = BTreeMap<Vec<u8>, Change>;

/// Bytes that matter to speed alone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    /// Room that is made at once.
    pub(crate) chunk: u64,
    /// What a log may hold that is out of date before it is made anew when nobody waits.
    pub(crate) idle_garbage: u64,
    /// The same when somebody does.
    pub(crate) busy_garbage: u64,
    /// A frame of a log that is made anew.
    pub(crate) body: usize,
}

/// Those in use.
const SIZES: Sizes = Sizes { chunk: 512 << 10, idle_garbage: 2 << 20, busy_garbage: 32 << 20, body: 1 << 20 };

/// Groups that the copy may lack before the writer waits for it.
const BEHIND: usize = 64;

/// The store's files, open. One thread changes it; any may read and sync.
pub(crate) struct Disk {
    directory: PathBuf,
    medium: Arc<dyn Medium>,
    sizes: Sizes,
    map: RwLock<Map>,
    log: Mutex<Log>,
    /// The size from which making the log anew is worth another try, after one that failed.
    patience: Mutex<u64>,
    copy: Mutex<Twin>,
    /// What is applied and not in the copy yet, in order.
    behind: Mutex<Vec<Vec<u8>>>,
    _lock: Option<Lock>,
}

/// A second log with the same groups, in another folder, which nobody waits for: what a store whose log is damaged or gone is
/// rebuilt from.
#[derive(Default)]
struct Twin {
    medium: Option<Arc<dyn Medium>>,
    /// None while there is none, or it could not be written.
    log: Option<Log>,
}

impl Disk {
    /// Opens, or creates, the store in `directory`, with a copy in `copy`. An error deletes nothing that was there.
    pub(crate) fn open(directory: &Path, copy: Option<&Path>) -> Result<Disk> {
        make_private(directory)?;
        let lock = Lock::take(directory)?;
        let fresh = !directory.join(log::NAME).exists();
        if let Some(copy) = copy.filter(|copy| fresh && copy.join(log::NAME).exists()) {
            return Err(Error::new(
                Kind::DataLoss,
                format!(
                    "the store in {directory:?} is gone, and its copy in {copy:?} is there: nothing was changed"
                ),
            ));
        }
        let medium = Arc::new(Folder::new(directory.to_owned()));
        let mut disk = Disk::on(medium, directory, SIZES)?;
        if fresh {
            // The directory's own name must be durable too.
            let above = directory.parent().unwrap_or(Path::new("/"));
            File::open(above).and_then(|above| above.sync_all()).context(|| format!("sync {above:?}"))?;
        }
        disk._lock = Some(lock);
        if let Some(copy) = copy {
            make_private(copy)?;
            disk.copy = Mutex::new(Twin { medium: Some(Arc::new(Folder::new(copy.to_owned()))), log: None });
            disk.renew_copy();
        }
        Ok(disk)
    }

    /// Opens, or creates, a store on `medium`; `directory` is its name in errors.
    pub(crate) fn on(medium: Arc<dyn Medium>, directory: &Path, sizes: Sizes) -> Result<Disk> {
        let opening = || format!("open the store in {directory:?}");
        let names = medium.names().context(opening)?;
        if !names.iter().any(|name| name == log::NAME) {
            refuse_others(directory, &names)?;
            let mut log = Log::begin(&*medium, sizes.chunk).context(opening)?;
            log.finish(&*medium, 0).context(opening)?;
        }
        if names.iter().any(|name| name == log::NEW) && medium.open(log::NEW).is_ok() {
            medium.remove(log::NEW).context(opening)?;
        }
        // A rename that a killed process did not come to sync is synced here.
        medium.sync_names().context(opening)?;
        let file = medium.open(log::NAME).context(opening)?;
        let mut map = Map::new(directory, file);
        let mut log = Log::open(&*medium, sizes.chunk, |frame| {
            map.take(frame.body, frame.body_at);
            Ok(())
        })
        .context(opening)?;
        log.mark().context(opening)?;
        Ok(Disk {
            directory: directory.to_owned(),
            medium,
            sizes,
            map: RwLock::new(map),
            log: Mutex::new(log),
            patience: Mutex::new(0),
            copy: Mutex::default(),
            behind: Mutex::default(),
            _lock: None,
        })
    }

    /// Reads of what was applied.
    pub(crate) fn map(&self) -> RwLockReadGuard<'_, Map> {
        self.map.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes `changes` in, all or nothing; once this returns, a kill of the process does not lose them. After a failure
    /// nothing has changed. [`Disk::sync`] makes them durable. Returns what [`Disk::fall_behind`] takes.
    pub(crate) fn apply(&self, changes: &Changes) -> Result<Vec<u8>> {
        let length = frame::body_length(changes);
        if length > frame::MAX_BODY as u64 {
            return Err(Error::invalid(format!(
                "a transaction of {length} bytes is larger than {} bytes",
                frame::MAX_BODY
            )));
        }
        let mut body = Vec::with_capacity(length as usize);
        changes.iter().for_each(|(key, change)| frame::push(&mut body, key, change));
        let need = if changes.values().all(Option::is_none) { Need::Urgent } else { Need::Usual };
        let at =
            self.log().append(&body, need).context(|| format!("write the store in {:?}", self.directory))?;
        self.map.write().unwrap_or_else(PoisonError::into_inner).take(&body, at);
        Ok(body)
    }

    /// Notes what the copy lacks from now on; says if that has become much.
    pub(crate) fn fall_behind(&self, body: Vec<u8>) -> bool {
        let mut behind = self.behind();
        behind.push(body);
        behind.len() >= BEHIND
    }

    /// Brings the copy up to what was applied.
    pub(crate) fn catch_up(&self) {
        let mut copy = self.copy.lock().unwrap_or_else(PoisonError::into_inner);
        for body in std::mem::take(&mut *self.behind()) {
            if let Some(log) = &mut copy.log
                && let Err(error) = log.append(&body, Need::Urgent)
            {
                tracing::warn!(%error, "the store's copy is not kept up until it is made anew");
                copy.log = None;
            }
        }
    }

    fn behind(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.behind.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the copy anew.
    fn renew_copy(&self) {
        let mut copy = self.copy.lock().unwrap_or_else(PoisonError::into_inner);
        // Nothing is applied meanwhile: all of it will be in the new one.
        self.behind().clear();
        let Some(medium) = copy.medium.clone() else { return };
        let made = self.write_anew(&*medium).and_then(|(mut log, _)| {
            log.finish_copy(&*medium, self.log().commit())?;
            Ok(log)
        });
        copy.log = made
            .inspect_err(|error| tracing::warn!(error = error.chain(), "the store has no copy for now"))
            .ok();
    }

    /// Is anything applied that is not on disk?
    pub(crate) fn waits(&self) -> bool {
        self.log().waits()
    }

    /// Waits until everything applied before is on the disk. After a failure it is not known what is.
    pub(crate) fn sync(&self) -> Result<()> {
        let syncing = self.log().to_sync();
        syncing.file.sync().context(|| format!("sync the store in {:?}", self.directory))?;
        self.log().synced(&syncing);
        Ok(())
    }

    /// Writes down how far the store is synced, if nothing newer is waiting: of use only to tell damage from a crash.
    pub(crate) fn mark(&self) {
        let mut log = self.log();
        if log.is_unmarked()
            && let Err(error) = log.mark()
        {
            tracing::debug!(%error, "no mark in the log");
        }
    }

    /// Is most of the log out of date? With nobody waiting sooner than otherwise.
    pub(crate) fn wants_compaction(&self, idle: bool) -> bool {
        let (used, live) = (self.log().used(), self.map().live());
        let least = if idle { self.sizes.idle_garbage } else { self.sizes.busy_garbage };
        let garbage = used.saturating_sub(live);
        garbage > least.max(live) && used >= *self.patience.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the log anew with what is not out of date. When that fails the old one goes on, unless the error says that
    /// it is not known which of them is on disk.
    pub(crate) fn compact(&self) -> Result<()> {
        let made = self.write_anew(&*self.medium).and_then(|(mut log, map)| {
            log.finish(&*self.medium, self.log().commit())?;
            Ok((log, map))
        });
        let (log, map) = match made {
            Ok(made) => made,
            Err(error) => {
                // An unfinished log is nothing to anybody; should it stay, the next start removes it.
                let _ = self.medium.remove(log::NEW);
                *self.patience.lock().unwrap_or_else(PoisonError::into_inner) =
                    self.log().used() + self.sizes.busy_garbage;
                tracing::warn!(error = error.chain(), "the log is not made anew for now");
                return Ok(());
            }
        };
        *self.map.write().unwrap_or_else(PoisonError::into_inner) = map;
        *self.log() = log;
        self.medium.sync_names().context(|| format!("sync the names in {:?}", self.directory))?;
        self.renew_copy();
        Ok(())
    }

    fn write_anew(&self, medium: &dyn Medium) -> Result<(Log, Map)> {
        let old = self.map();
        let mut log = Log::begin(medium, self.sizes.chunk)?;
        let mut map = Map::new(&self.directory, log.file());
        let mut body = Vec::new();
        let mut put = |body: &mut Vec<u8>| -> Result<()> {
            let at = log.copy(body).context(|| format!("write {}", log::NEW))?;
            map.take(body, at);
            body.clear();
            Ok(())
        };
        old.scan(&[], |key, value| {
            frame::push(&mut body, key, &Some(value));
            if body.len() >= self.sizes.body { put(&mut body) } else { Ok(()) }
        })?;
        if !body.is_empty() {
            put(&mut body)?;
        }
        Ok((log, map))
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn make_private(directory: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .context(|| format!("create the store's directory {directory:?}"))
}

/// A directory without a log is a new store's only if nothing in it looks like another's.
fn refuse_others(directory: &Path, names: &[String]) -> Result<()> {
    let has = |name: &str| names.iter().any(|other| other == name);
    if has("db") && has("conf") {
        return Err(Error::precondition(format!(
            "{directory:?} holds a store of an early version of this program, which this one cannot read; nothing was \
             changed: move it away, then run `runtimed metadata rebuild`"
        )));
    }
    match names.iter().find(|name| ![log::NEW, "lock"].contains(&name.as_str())) {
        None => Ok(()),
        Some(name) => Err(Error::new(
            Kind::DataLoss,
            format!("{directory:?} has no log, but {name:?}: it is not a store of this program"),
        )),
    }
}
