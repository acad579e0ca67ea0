//! An open ingest: write, and commit into a blob.

use std::fs::{File, FileTimes, Permissions};
use std::io::{Seek as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::time::SystemTime;

use bytes::Bytes;
use errors::{Context, Error, Kind, Result};
use ids::{Digest, Labels, Namespace};
use proto_containerd::events::ContentCreate;

use crate::blocking::blocking;
use crate::hasher::Hasher;
use crate::ingest::{self, Ingest};
use crate::layout::Layout;
use crate::locks::Held;
use crate::record::{BLOBS, OWNERS, Record, exists};
use crate::{Content, Info, Status, blob};

/// An open ingest: one writer a reference. Dropping it keeps what was written for a later resume.
pub struct Writer {
    content: Content,
    namespace: Namespace,
    status: Status,
    /// Away while a blocking thread works on it; gone for good when that was given up half-way.
    open: Option<Box<Open>>,
}

/// What a blocking thread needs. The reference stays held for as long as any thread may still write.
pub(crate) struct Open {
    pub(crate) ingest: Ingest,
    pub(crate) _held: Held,
}

impl Writer {
    pub(crate) fn new(content: Content, namespace: Namespace, open: Open) -> Writer {
        let status = open.ingest.status.clone();
        Writer { content, namespace, status, open: Some(Box::new(open)) }
    }

    /// Where the ingest stands.
    pub fn status(&self) -> Status {
        self.status.clone()
    }

    /// The digest of the bytes so far.
    pub async fn digest(&mut self) -> Result<Digest> {
        match &self.open {
            Some(open) => open.ingest.hasher.digest(),
            None => Err(self.closed()),
        }
    }

    /// Writes at `offset`, which must be the current one (`OutOfRange`), or 0, which starts anew.
    pub async fn write(&mut self, offset: u64, bytes: Bytes) -> Result<()> {
        if offset != 0 && offset != self.status.offset {
            return Err(Error::new(
                Kind::OutOfRange,
                format!("write @{offset} must occur at current offset {}: out of range", self.status.offset),
            ));
        }
        let mut open = self.open.take().ok_or_else(|| self.closed())?;
        let truncate = offset == 0 && self.status.offset > 0;
        let (open, result) = blocking(move || {
            let result = append(&mut open.ingest, truncate, &bytes);
            Ok((open, result))
        })
        .await?;
        self.status = open.ingest.status.clone();
        self.open = Some(open);
        result
    }

    /// Makes the ingest a blob: checks size (0: unknown) and digest (`FailedPrecondition`), fsyncs file and directory,
    /// records it. `AlreadyExists` when the namespace has the blob; the ingest is gone then too.
    pub async fn commit(self, size: u64, expected: Option<&Digest>, labels: Labels) -> Result<Info> {
        ids::validate_labels(&labels)?;
        let expected = expected.cloned();
        // Goes on when the caller goes away: file and record must not part half-way.
        match tokio::spawn(marks::carry(self.carry_out(size, expected, labels))).await {
            Ok(result) => result,
            Err(error) => Err(Error::with_source(Kind::Internal, "commit did not finish", error)),
        }
    }

    async fn carry_out(self, size: u64, expected: Option<Digest>, labels: Labels) -> Result<Info> {
        let Writer { content, namespace, status, open } = self;
        let open = open.ok_or_else(|| closed(&status.reference))?;
        let mut step = marks::step("content.commit.verify")?;
        let (open, digest) = blocking(move || finish(open, size, expected)).await?;
        let _changing = content.digests.lock(&digest).await;

        let size = open.ingest.status.offset;
        if content.has_whole(&namespace, &digest)? {
            blocking(move || ingest::remove(&open.ingest.folder)).await?;
            return Err(exists(&digest));
        }
        step.next("content.commit.publish")?;
        let (layout, target) = (content.layout.clone(), digest.clone());
        let open = blocking(move || {
            publish(&layout, &open.ingest, &target)?;
            Ok(open)
        })
        .await?;
        step.next("content.commit.record")?;
        let info = record(&content, &namespace, digest, size, labels).await?;
        marks::passed("content.commit.recorded");
        remove_quietly(open).await;
        content.events.publish(
            &namespace,
            "/content/create",
            &ContentCreate {
                digest: info.digest.to_string(),
                size: i64::try_from(size).unwrap_or(i64::MAX),
                ..Default::default()
            },
        );
        Ok(info)
    }

    fn closed(&self) -> Error {
        closed(&self.status.reference)
    }
}

fn closed(reference: &str) -> Error {
    Error::precondition(format!("ref {reference}: writer is closed: failed precondition"))
}

/// Appends, and keeps hash and offset in step with the file: after a failure they are those of what the file has.
fn append(ingest: &mut Ingest, truncate: bool, bytes: &[u8]) -> Result<()> {
    let reference = &ingest.status.reference;
    if truncate {
        ingest.data.set_len(0).context(|| format!("truncate the ingest {reference}"))?;
        ingest.data.rewind().context(|| format!("rewind the ingest {reference}"))?;
        ingest.hasher = Hasher::new(ingest.hasher.algorithm());
        ingest.status.offset = 0;
    }
    let written = ingest.data.write_all(bytes);
    if let Err(error) = written {
        // Some of it may be in the file: cut it back to what the hash covers.
        let offset = ingest.status.offset;
        let _ = ingest.data.set_len(offset);
        let _ = ingest.data.seek(std::io::SeekFrom::Start(offset));
        return Err(error)
            .context(|| format!("write {} bytes to the ingest {reference} at {offset}", bytes.len()));
    }
    ingest.hasher.update(bytes);
    ingest.status.offset += bytes.len() as u64;
    ingest.writeback.grown(ingest.data.as_fd(), ingest.status.offset);
    let now = SystemTime::now();
    ingest.status.updated_at = now;
    // The file's time is what a later resume takes for it, and the kernel's own is up to a tick behind.
    let times = FileTimes::new().set_modified(now);
    ingest.data.set_times(times).context(|| format!("set the time of the ingest {reference}"))
}

/// Checks size and digest, and brings the file to disk.
fn finish(mut open: Box<Open>, size: u64, expected: Option<Digest>) -> Result<(Box<Open>, Digest)> {
    let ingest = &mut open.ingest;
    let path = ingest.folder.join("data");
    let found = ingest.data.metadata().context(|| format!("stat {}", path.display()))?.len();
    if size > 0 && size != found {
        return Err(Error::precondition(format!(
            "unexpected commit size {found}, expected {size}: failed precondition"
        )));
    }
    if found != ingest.status.offset {
        return Err(Error::new(
            Kind::DataLoss,
            format!("{} has {found} bytes, {} were written", path.display(), ingest.status.offset),
        ));
    }
    if let Some(expected) = &expected
        && expected.algorithm() != ingest.hasher.algorithm()
    {
        ingest.hasher = Hasher::new(expected.algorithm());
        ingest.data.rewind().context(|| format!("rewind {}", path.display()))?;
        ingest.hasher.update_from(&mut ingest.data).context(|| format!("read {}", path.display()))?;
    }
    let digest = ingest.hasher.digest()?;
    if let Some(expected) = expected
        && expected != digest
    {
        return Err(Error::precondition(format!(
            "unexpected commit digest {digest}, expected {expected}: failed precondition"
        )));
    }
    ingest.data.sync_all().context(|| format!("fsync {}", path.display()))?;
    Ok((open, digest))
}

/// Moves the data to its blob's name, durably. A file under that name has the same content, or is damaged: either
/// way it is replaced; whoever has it open keeps what he has.
fn publish(layout: &Layout, ingest: &Ingest, digest: &Digest) -> Result<()> {
    let (from, to) = (ingest.folder.join("data"), layout.blob(digest));
    ingest
        .data
        .set_permissions(Permissions::from_mode(0o444))
        .context(|| format!("chmod {}", from.display()))?;
    std::fs::rename(&from, &to).context(|| format!("rename {} to {}", from.display(), to.display()))?;
    marks::passed("content.commit.renamed");
    sync_folder(&layout.blobs(digest.algorithm()))?;
    // The damaged file that this one is in place of; mostly there is none.
    let _ = std::fs::remove_file(layout.quarantined(digest));
    Ok(())
}

/// Records the blob. A record that is there belongs to a damaged file that was just replaced: it keeps its labels and
/// gets the new ones.
async fn record(
    content: &Content,
    namespace: &Namespace,
    digest: Digest,
    size: u64,
    labels: Labels,
) -> Result<Info> {
    let namespace = namespace.clone();
    content
        .store
        .write(move |transaction| {
            let name = digest.to_string();
            let key = [namespace.as_str(), name.as_str()];
            let mut new = Record::new(size, labels.clone());
            if let Some(old) = transaction.get(&BLOBS, &key)? {
                new.created_at = old.created_at;
                new.labels = old.labels;
                new.labels.extend(labels);
            }
            new.labels.retain(|_, value| !value.is_empty());
            transaction.put(&BLOBS, &key, &new)?;
            transaction.put(&OWNERS, &[&name, namespace.as_str()], &())?;
            Ok(new.into_info(digest))
        })
        .await
}

/// The blob is there and recorded: a leftover folder is only untidy, and the next start removes it.
async fn remove_quietly(open: Box<Open>) {
    let removed = blocking(move || ingest::remove(&open.ingest.folder)).await;
    if let Err(error) = removed {
        tracing::warn!(error = error.chain(), "ingest folder left behind");
    }
}

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(path: &std::path::Path) -> Result<()> {
    File::open(path).and_then(|folder| folder.sync_all()).context(|| format!("fsync {}", path.display()))
}

impl Content {
    /// Does the namespace have the blob, and is its file whole?
    pub(crate) fn has_whole(&self, namespace: &Namespace, digest: &Digest) -> Result<bool> {
        let record = self.store.read().get(&BLOBS, &[namespace.as_str(), &digest.to_string()])?;
        Ok(record.is_some_and(|record| blob::is_whole(&self.layout, digest, record.size)))
    }
}
