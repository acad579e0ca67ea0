//! An ingest's folder: made, found again, read, removed.

use std::fs::{self, File, OpenOptions};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use errors::{Context, Error, Result};
use ids::{Algorithm, Digest, Namespace};
use sys::writeback::Writeback;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::Status;
use crate::hasher::Hasher;
use crate::layout::{Layout, ingest_key, parse_ingest_key};

/// How long an ingest lives that no lease holds (containerd's 24 hours).
const LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
/// The most that a reference may have, in bytes: it comes from a client and lands in a file.
pub(crate) const MAX_REFERENCE: usize = 4096;

/// An ingest opened for writing.
pub(crate) struct Ingest {
    /// Its folder.
    pub(crate) folder: PathBuf,
    /// The data so far, positioned at the end.
    pub(crate) data: File,
    /// The hash of the data so far.
    pub(crate) hasher: Hasher,
    /// What it is.
    pub(crate) status: Status,
    /// Its data on the way to disk.
    pub(crate) writeback: Writeback,
}

impl Ingest {
    /// Makes the ingest, or takes up what is there; what cannot be taken up is made anew.
    pub(crate) fn open(
        layout: &Layout,
        namespace: &Namespace,
        reference: &str,
        total: u64,
        expected: Option<Digest>,
    ) -> Result<Ingest> {
        let folder = layout.ingest(namespace, reference);
        let algorithm = expected.as_ref().map_or(Algorithm::Sha256, Digest::algorithm);
        if folder.exists() {
            match Ingest::resume(&folder, reference, total, algorithm) {
                Ok(mut ingest) => {
                    ingest.expect(expected)?;
                    ingest.status.expires_at = renew(&folder)?;
                    return Ok(ingest);
                }
                Err(error) => {
                    tracing::info!(reference, error = error.chain(), "ingest starts anew");
                    remove(&folder)?;
                }
            }
        }
        let mut ingest = Ingest::create(folder, namespace, reference, total, algorithm)?;
        ingest.expect(expected)?;
        Ok(ingest)
    }

    fn create(
        folder: PathBuf,
        namespace: &Namespace,
        reference: &str,
        total: u64,
        algorithm: Algorithm,
    ) -> Result<Ingest> {
        fs::create_dir(&folder).context(|| format!("mkdir {}", folder.display()))?;
        let now = SystemTime::now();
        write(&folder, "ref", &ingest_key(namespace, reference))?;
        write(&folder, "startedat", &format_time(now))?;
        write(&folder, "updatedat", &format_time(now))?;
        if total > 0 {
            write(&folder, "total", &total.to_string())?;
        }
        let expires_at = renew(&folder)?;
        let path = folder.join("data");
        let data = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)
            .context(|| format!("create {}", path.display()))?;
        let status = Status {
            reference: reference.to_owned(),
            offset: 0,
            total,
            started_at: now,
            updated_at: now,
            expected: None,
            expires_at,
        };
        Ok(Ingest { folder, data, hasher: Hasher::new(algorithm), status, writeback: Writeback::default() })
    }

    fn resume(folder: &Path, reference: &str, total: u64, algorithm: Algorithm) -> Result<Ingest> {
        let (_, mut status) = read_status(folder)?;
        if status.reference != reference {
            return Err(Error::internal(format!(
                "ref key does not match: {reference:?} != {:?}",
                status.reference
            )));
        }
        if total > 0 && status.total > 0 && total != status.total {
            return Err(Error::precondition(format!(
                "provided total differs from status: {total} != {}",
                status.total
            )));
        }
        if total > 0 && status.total == 0 {
            write(folder, "total", &total.to_string())?;
            status.total = total;
        }
        let path = folder.join("data");
        let mut data = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .context(|| format!("open {}", path.display()))?;
        let mut hasher = Hasher::new(algorithm);
        // Hashing to the end also leaves the file positioned there.
        status.offset =
            hasher.update_from(&mut data).context(|| format!("read {} to resume", path.display()))?;
        Ok(Ingest { folder: folder.to_owned(), data, hasher, status, writeback: Writeback::default() })
    }

    fn expect(&mut self, expected: Option<Digest>) -> Result<()> {
        if let Some(digest) = &expected {
            write(&self.folder, "expected", &digest.to_string())?;
            self.status.expected = expected;
        }
        Ok(())
    }
}

/// The ingest in `folder`, with its namespace.
pub(crate) fn read_status(folder: &Path) -> Result<(Namespace, Status)> {
    let data = folder.join("data");
    let metadata = fs::metadata(&data).context(|| format!("stat {}", data.display()))?;
    let key = read(folder, "ref")?;
    let (namespace, reference) = parse_ingest_key(&key).ok_or_else(|| {
        Error::internal(format!("{}/ref holds {key:?}, which is no reference", folder.display()))
    })?;
    let started_at = read_time(folder, "startedat")?;
    let updated_at = read_time(folder, "updatedat").unwrap_or(started_at);
    let changed_at = metadata.modified().unwrap_or(updated_at);
    let status = Status {
        reference: reference.to_owned(),
        offset: metadata.len(),
        total: read(folder, "total").ok().and_then(|text| text.parse().ok()).unwrap_or(0),
        started_at,
        updated_at: updated_at.max(changed_at),
        expected: read(folder, "expected").ok().and_then(|text| Digest::parse(&text).ok()),
        expires_at: read_time(folder, "expireat").unwrap_or(started_at + LIFETIME),
    };
    Ok((namespace, status))
}

/// Every ingest that can be read; one that is being made or removed at this moment is left out.
pub(crate) fn all(layout: &Layout) -> Result<Vec<(Namespace, Status)>> {
    let path = layout.ingests();
    let entries = fs::read_dir(&path).context(|| format!("read folder {}", path.display()))?;
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.context(|| format!("read folder {}", path.display()))?;
        match read_status(&entry.path()) {
            Ok(ingest) => found.push(ingest),
            Err(error) => tracing::debug!(error = error.chain(), "ingest left out of the list"),
        }
    }
    found.sort_by(|(_, a), (_, b)| a.reference.cmp(&b.reference));
    Ok(found)
}

/// Removes an ingest's folder; the file `ref` goes last but for the folder, so that a torn removal is found again.
pub(crate) fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).context(|| format!("remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// The ingest lives on for [`LIFETIME`] from now.
fn renew(folder: &Path) -> Result<SystemTime> {
    let expires_at = SystemTime::now() + LIFETIME;
    write(folder, "expireat", &format_time(expires_at))?;
    Ok(expires_at)
}

fn format_time(time: SystemTime) -> String {
    // Only years beyond 9999 cannot be formatted.
    OffsetDateTime::from(time).format(&Rfc3339).unwrap_or_default()
}

fn read_time(folder: &Path, name: &str) -> Result<SystemTime> {
    let text = read(folder, name)?;
    OffsetDateTime::parse(&text, &Rfc3339).map(SystemTime::from).map_err(|error| {
        Error::with_source(errors::Kind::Internal, format!("{}/{name}", folder.display()), error)
    })
}

fn write(folder: &Path, name: &str, text: &str) -> Result<()> {
    let path = folder.join(name);
    fs::write(&path, text).context(|| format!("write {}", path.display()))
}

fn read(folder: &Path, name: &str) -> Result<String> {
    let path = folder.join(name);
    let mut text = String::new();
    File::open(&path)
        .and_then(|file| file.take(2 * MAX_REFERENCE as u64).read_to_string(&mut text))
        .context(|| format!("read {}", path.display()))?;
    Ok(text)
}
