//! The content store's calls on blobs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use bytes::Bytes;
use errors::{Context, Error, Kind, Result};
use events::Bus;
use filters::Filters;
use ids::{Digest, Labels, Namespace};
use metadata::{Store, Transaction};
use proto_containerd::events::{ContentCreate, ContentDelete};

use crate::blocking::blocking;
use crate::hasher::Hasher;
use crate::layout::{ALGORITHMS, Layout};
use crate::locks::{Digests, References};
use crate::record::{BLOBS, OWNERS, Record, missing};
use crate::unremoved::Unremoved;
use crate::{Blob, Info, blob, sweep};

/// The content store of all namespaces. Cheap to clone.
#[derive(Clone)]
pub struct Content {
    pub(crate) layout: Layout,
    pub(crate) store: Store,
    pub(crate) events: Bus,
    pub(crate) references: References,
    pub(crate) digests: Digests,
    pub(crate) unremoved: Unremoved,
}

impl Content {
    /// Opens `<root>/io.containerd.content.v1.content`; finds unfinished ingests again, removes files that no record
    /// names, and sets files aside that are not as their record says.
    pub fn open(root: &Path, store: Store, events: Bus) -> Result<Content> {
        let layout = Layout::below(root);
        let folders = ALGORITHMS.map(|algorithm| layout.blobs(algorithm));
        for folder in folders.iter().chain([&layout.ingests()]) {
            fs::create_dir_all(folder).context(|| format!("mkdir -p {}", folder.display()))?;
        }
        // Images hold what their owners' users alone may see.
        fs::set_permissions(&*layout.root, fs::Permissions::from_mode(0o700))
            .context(|| format!("chmod 700 {}", layout.root.display()))?;
        sweep::sweep(&layout, &store)?;
        Ok(Content {
            layout,
            store,
            events,
            references: References::default(),
            digests: Digests::new(),
            unremoved: Unremoved::default(),
        })
    }

    /// Where its files are.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The blob's record; `NotFound` "content digest sha256:...: not found".
    pub fn info(&self, namespace: &Namespace, digest: &Digest) -> Result<Info> {
        let record = self.store.read().get(&BLOBS, &[namespace.as_str(), &digest.to_string()])?;
        record.map(|record| record.into_info(digest.clone())).ok_or_else(|| missing(digest))
    }

    /// The blobs that `filters` (fields digest, size, labels) let through, in digest order.
    pub fn list(&self, namespace: &Namespace, filters: &[String]) -> Result<Vec<Info>> {
        let filters = Filters::parse(filters)?;
        let infos = self.scan(&[namespace.as_str()])?.into_iter().map(|(_, info)| info);
        Ok(infos.filter(|info| filters.matches(info)).collect())
    }

    /// The blobs of every namespace, for garbage collection.
    pub fn all(&self) -> Result<Vec<(Namespace, Info)>> {
        self.scan(&[])
    }

    fn scan(&self, prefix: &[&str]) -> Result<Vec<(Namespace, Info)>> {
        let records = self.store.read().scan(&BLOBS, prefix)?;
        records
            .into_iter()
            .map(|(key, record)| match key.as_slice() {
                [namespace, digest] => {
                    Ok((Namespace::parse(namespace)?, record.into_info(Digest::parse(digest)?)))
                }
                _ => Err(Error::new(Kind::DataLoss, format!("content record under the key {key:?}"))),
            })
            .collect()
    }

    /// Changes labels: those that `mask` names (`labels`, `labels.KEY`), or all when it is empty. An empty value deletes
    /// the label.
    pub async fn update(
        &self,
        namespace: &Namespace,
        digest: &Digest,
        labels: Labels,
        mask: &[String],
    ) -> Result<Info> {
        let (namespace, digest, mask) = (namespace.clone(), digest.clone(), mask.to_vec());
        self.store
            .write(move |transaction| {
                let name = digest.to_string();
                let key = [namespace.as_str(), name.as_str()];
                let mut record = transaction.get(&BLOBS, &key)?.ok_or_else(|| missing(&digest))?;
                record.set_labels(&digest, labels, &mask)?;
                transaction.put(&BLOBS, &key, &record)?;
                Ok(record.into_info(digest))
            })
            .await
    }

    /// Takes the blob from the namespace; the file goes when no namespace has it.
    pub async fn delete(&self, namespace: &Namespace, digest: &Digest) -> Result<()> {
        let (this, owner, name) = (self.clone(), namespace.clone(), digest.clone());
        self.store.write(move |transaction| this.forget(transaction, &owner, &name)).await?;
        self.reap(namespace, digest).await;
        Ok(())
    }

    /// Takes the blob's record from the namespace within `transaction`; [`Content::reap`] follows once that is written.
    pub fn forget(
        &self,
        transaction: &mut Transaction<'_>,
        namespace: &Namespace,
        digest: &Digest,
    ) -> Result<()> {
        let text = digest.to_string();
        if !transaction.delete(&BLOBS, &[namespace.as_str(), &text])? {
            return Err(missing(digest));
        }
        transaction.delete(&OWNERS, &[&text, namespace.as_str()]).map(drop)
    }

    /// What is left to do when a blob's record is gone: its file goes if no namespace has it, and the deletion is told. The records are
    /// gone, so the deletion has happened: a file that cannot be removed is logged, and tried again by [`Content::remove_unremoved`].
    pub async fn reap(&self, namespace: &Namespace, digest: &Digest) {
        if let Err(error) = self.remove_if_unowned(digest).await {
            tracing::warn!(%digest, error = error.chain(), "blob file left behind");
            self.unremoved.add(digest.clone());
        }
        let event = ContentDelete { digest: digest.to_string() };
        self.events.publish(namespace, "/content/delete", &event);
    }

    /// Are there files of deleted blobs that could not be removed?
    pub fn has_unremoved(&self) -> bool {
        !self.unremoved.is_empty()
    }

    /// Tries once more to remove the files that [`Content::reap`] had to leave behind; those that stay are logged, and kept in mind. What
    /// a daemon leaves behind, the sweep of the next one removes.
    pub async fn remove_unremoved(&self) {
        for digest in self.unremoved.take() {
            if let Err(error) = self.remove_if_unowned(&digest).await {
                tracing::warn!(%digest, error = error.chain(), "blob file left behind once more");
                self.unremoved.add(digest);
            }
        }
    }

    /// Removes the blob's file, unless a namespace has it.
    async fn remove_if_unowned(&self, digest: &Digest) -> Result<()> {
        let _changing = self.digests.lock(digest).await;
        let _step = marks::step("content.remove.file")?;
        if !self.store.read().keys(&OWNERS, &[&digest.to_string()])?.is_empty() {
            return Ok(());
        }
        let path = self.layout.blob(digest);
        blocking(move || match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).context(|| format!("remove {}", path.display()))
            }
            _ => Ok(()),
        })
        .await
    }

    /// Opens the blob for reading; `DataLoss` when its file is missing or short.
    pub fn open_blob(&self, namespace: &Namespace, digest: &Digest) -> Result<Blob> {
        let info = self.info(namespace, digest)?;
        Blob::open(&self.layout, digest, info.size)
    }

    /// Reads a whole blob that may be at most `limit` bytes; a larger one is `ResourceExhausted`.
    pub async fn read(&self, namespace: &Namespace, digest: &Digest, limit: u64) -> Result<Bytes> {
        let blob = self.open_blob(namespace, digest)?;
        if blob.size() > limit {
            return Err(Error::new(
                Kind::ResourceExhausted,
                format!("content {digest} has {} bytes, more than the {limit} allowed here", blob.size()),
            ));
        }
        blob.read_at(0, usize::try_from(limit).unwrap_or(usize::MAX)).await
    }

    /// Writes a small blob in one call, and returns its digest; one that exists gets the labels merged.
    pub async fn put(&self, namespace: &Namespace, bytes: Bytes, labels: Labels) -> Result<Digest> {
        use std::sync::atomic::{AtomicU64, Ordering};
        static NEXT: AtomicU64 = AtomicU64::new(0);

        let mut hasher = Hasher::new(ids::Algorithm::Sha256);
        hasher.update(&bytes);
        let digest = hasher.digest()?;
        if self.has_whole(namespace, &digest)? {
            return self.merge_labels(namespace, digest, labels).await;
        }
        // A reference of its own each time: two puts of one blob must not wait for each other.
        let reference = format!("{}put-{digest}-{}", crate::ONCE, NEXT.fetch_add(1, Ordering::Relaxed));
        let size = bytes.len() as u64;
        let mut writer = self.open_writer(namespace, &reference, size, None).await?;
        let written = async {
            writer.write(0, bytes).await?;
            writer.commit(size, Some(&digest), labels.clone()).await
        };
        match written.await {
            Err(error) if error.is_already_exists() => self.merge_labels(namespace, digest, labels).await,
            Err(error) => {
                // Nobody knows the reference, to go on with it.
                if let Err(left) = self.abort(namespace, &reference).await
                    && !left.is_not_found()
                {
                    tracing::warn!(%digest, error = %left.chain(), "an ingest is left behind");
                }
                Err(error)
            }
            Ok(info) => Ok(info.digest),
        }
    }

    async fn merge_labels(&self, namespace: &Namespace, digest: Digest, labels: Labels) -> Result<Digest> {
        let mask: Vec<String> = labels.keys().map(|key| format!("labels.{key}")).collect();
        if !mask.is_empty() {
            self.update(namespace, &digest, labels, &mask).await?;
        }
        Ok(digest)
    }

    /// Gives the namespace a blob that another one has, and says whether it now has it. (Sharing policy "shared": who
    /// names the digest may have the content; a `total` other than its size, and not 0, means something else.)
    pub(crate) async fn take_over(&self, namespace: &Namespace, digest: &Digest, total: u64) -> Result<bool> {
        let _changing = self.digests.lock(digest).await;
        if self.has_whole(namespace, digest)? {
            return Ok(true);
        }
        let (layout, owner, name) = (self.layout.clone(), namespace.clone(), digest.clone());
        let size = self
            .store
            .write(move |transaction| {
                let text = name.to_string();
                for (key, ()) in transaction.scan(&OWNERS, &[&text])? {
                    let Some(other) = key.get(1).filter(|other| *other != owner.as_str()) else { continue };
                    let Some(record) = transaction.get(&BLOBS, &[other.as_str(), text.as_str()])? else {
                        continue;
                    };
                    if (total == 0 || total == record.size) && blob::is_whole(&layout, &name, record.size) {
                        let new = Record::new(record.size, Labels::new());
                        transaction.put(&BLOBS, &[owner.as_str(), &text], &new)?;
                        transaction.put(&OWNERS, &[&text, owner.as_str()], &())?;
                        return Ok(Some(record.size));
                    }
                }
                Ok(None)
            })
            .await?;
        let Some(size) = size else { return Ok(false) };
        let event = ContentCreate {
            digest: digest.to_string(),
            size: i64::try_from(size).unwrap_or(i64::MAX),
            ..Default::default()
        };
        self.events.publish(namespace, "/content/create", &event);
        Ok(true)
    }
}
