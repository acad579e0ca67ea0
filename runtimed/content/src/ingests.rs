//! The content store's calls on ingests.

use errors::{Error, Result};
use filters::Filters;
use ids::{Digest, Namespace};

use crate::blocking::blocking;
use crate::ingest::{self, Ingest, MAX_REFERENCE};
use crate::layout::ingest_key;
use crate::record::exists;
use crate::writer::Open;
use crate::{Content, Status, Writer};

impl Content {
    /// Opens the ingest `reference`, new or where it stopped. `Unavailable` when another writer has it;
    /// `AlreadyExists` when `expected` is a blob of this namespace already (with the sharing policy "shared", a blob of
    /// another namespace is taken over and answered so too); the ingest is aborted then. A blob whose file is damaged
    /// counts as absent, so that pulling it again repairs it.
    pub async fn writer(
        &self,
        namespace: &Namespace,
        reference: &str,
        total: u64,
        expected: Option<Digest>,
    ) -> Result<Writer> {
        check(reference)?;
        if let Some(digest) = &expected
            && self.has(namespace, digest, total).await?
        {
            match self.abort(namespace, reference).await {
                Err(error) if !error.is_not_found() => {
                    tracing::debug!(reference, error = error.chain(), "ingest of a known blob stays");
                }
                _ => {}
            }
            return Err(exists(digest));
        }
        self.open_writer(namespace, reference, total, expected).await
    }

    async fn has(&self, namespace: &Namespace, digest: &Digest, total: u64) -> Result<bool> {
        if self.has_whole(namespace, digest)? {
            return Ok(true);
        }
        // Without a file there is nothing to take over, and no transaction to pay for.
        if !self.layout.blob(digest).exists() {
            return Ok(false);
        }
        self.take_over(namespace, digest, total).await
    }

    pub(crate) async fn open_writer(
        &self,
        namespace: &Namespace,
        reference: &str,
        total: u64,
        expected: Option<Digest>,
    ) -> Result<Writer> {
        let held = self.references.hold(&ingest_key(namespace, reference), reference)?;
        let (layout, owner, name) = (self.layout.clone(), namespace.clone(), reference.to_owned());
        let _step = marks::step("content.ingest.open")?;
        let open = blocking(move || {
            let ingest = Ingest::open(&layout, &owner, &name, total, expected)?;
            Ok(Open { ingest, _held: held })
        })
        .await?;
        Ok(Writer::new(self.clone(), namespace.clone(), open))
    }

    /// One ingest's status.
    pub fn status(&self, namespace: &Namespace, reference: &str) -> Result<Status> {
        check(reference)?;
        match ingest::read_status(&self.layout.ingest(namespace, reference)) {
            Ok((_, status)) => Ok(status),
            Err(error) if error.is_not_found() => Err(unknown(reference)),
            Err(error) => Err(error),
        }
    }

    /// The ingests of the namespace that `filters` (field ref) let through, in order of their references.
    pub fn statuses(&self, namespace: &Namespace, filters: &[String]) -> Result<Vec<Status>> {
        let filters = Filters::parse(filters)?;
        let found = self.ingests()?.into_iter().filter(|(owner, _)| owner == namespace);
        Ok(found.map(|(_, status)| status).filter(|status| filters.matches(status)).collect())
    }

    /// The ingests of every namespace, for garbage collection.
    pub fn ingests(&self) -> Result<Vec<(Namespace, Status)>> {
        ingest::all(&self.layout)
    }

    /// Ends the ingest and removes what it wrote. `Unavailable` while a writer has it.
    pub async fn abort(&self, namespace: &Namespace, reference: &str) -> Result<()> {
        check(reference)?;
        let folder = self.layout.ingest(namespace, reference);
        if !folder.exists() {
            return Err(unknown(reference));
        }
        let held = self.references.hold(&ingest_key(namespace, reference), reference)?;
        let _step = marks::step("content.ingest.abort")?;
        blocking(move || {
            let _held = held;
            ingest::remove(&folder)
        })
        .await
    }
}

fn check(reference: &str) -> Result<()> {
    if reference.is_empty() {
        return Err(Error::invalid("ref must not be empty: invalid argument"));
    }
    if reference.len() > MAX_REFERENCE {
        return Err(Error::invalid(format!(
            "ref of {} bytes is longer than {MAX_REFERENCE}: invalid argument",
            reference.len()
        )));
    }
    Ok(())
}

fn unknown(reference: &str) -> Error {
    Error::not_found(format!("reference {reference}: not found"))
}
