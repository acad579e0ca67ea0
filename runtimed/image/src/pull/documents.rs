//! The small half of a pull: index, manifest, config.

use std::collections::BTreeSet;

use bytes::Bytes;
use errors::{Error, Kind, Result};
use ids::{Algorithm, Digest, Labels};

use super::Pull;
use crate::images::{Shared, child_labels};
use crate::manifest::{Manifest, parse_index, parse_manifest};
use crate::progress::tell;
use crate::{Descriptor, Platform};

/// How deep an index may hold indexes.
const MAX_DEPTH: usize = 4;

/// The most documents that are asked for in search of them.
const MAX_DOCUMENTS: usize = 1024;

/// The most manifests of one image.
const MAX_MANIFESTS: usize = 256;

/// One manifest, with its config.
pub(crate) struct Found {
    pub(crate) descriptor: Descriptor,
    pub(crate) manifest: Manifest,
    pub(crate) config: Bytes,
}

impl Pull {
    /// Stores the documents from `target` down to the manifest for `platform`, or to all manifests.
    pub(crate) async fn documents(
        &self,
        target: &Descriptor,
        document: Option<Bytes>,
        platform: Option<&Platform>,
    ) -> Result<Vec<Found>> {
        let mut found = Vec::new();
        // Indexes may name each other over and over: each is read once.
        let mut seen = BTreeSet::new();
        let mut pending = vec![(target.clone(), document, 0)];
        while let Some((descriptor, document, depth)) = pending.pop() {
            if !seen.insert(descriptor.digest.clone()) {
                continue;
            }
            if depth > MAX_DEPTH || seen.len() > MAX_DOCUMENTS {
                return Err(Error::new(
                    Kind::ResourceExhausted,
                    format!(
                        "index {} holds indexes more than {MAX_DEPTH} deep, or more than {MAX_DOCUMENTS} documents",
                        target.digest
                    ),
                ));
            }
            let bytes = self.document(&descriptor, document).await?;
            if descriptor.is_index() {
                let index = parse_index(&bytes, &descriptor.digest)?;
                self.keep(&descriptor, &bytes, child_labels(&index.manifests)).await?;
                let children: Vec<&Descriptor> = match platform {
                    Some(platform) => index.ranked(platform),
                    None => index.manifests.iter().collect(),
                };
                let wanted = children.into_iter().filter(|child| child.is_manifest() || child.is_index());
                pending.extend(wanted.rev().map(|child| (child.clone(), None, depth + 1)));
                continue;
            }
            found.push(self.manifest(descriptor, &bytes).await?);
            if platform.is_some() {
                break;
            }
            if found.len() > MAX_MANIFESTS {
                return Err(Error::invalid(format!(
                    "{} has more than {MAX_MANIFESTS} manifests",
                    target.digest
                )));
            }
        }
        match (found.is_empty(), platform) {
            (true, Some(platform)) => Err(Error::not_found(format!(
                "no match for platform {platform} in manifest {}: not found",
                target.digest
            ))),
            _ => Ok(found),
        }
    }

    async fn manifest(&self, descriptor: Descriptor, bytes: &Bytes) -> Result<Found> {
        let manifest = parse_manifest(bytes, &descriptor.digest)?;
        let children = [&manifest.config].into_iter().chain(&manifest.layers);
        self.keep(&descriptor, bytes, child_labels(children)).await?;
        let config = self.document(&manifest.config, None).await?;
        self.keep(&manifest.config, &config, Labels::new()).await?;
        Ok(Found { descriptor, manifest, config })
    }

    /// A small blob: from content, or else from the registry.
    async fn document(&self, descriptor: &Descriptor, known: Option<Bytes>) -> Result<Bytes> {
        Shared::hold(self.hold.as_ref(), "content", &descriptor.digest.to_string()).await?;
        if let Some(bytes) = known {
            return Ok(bytes);
        }
        match self.shared.read_small(&self.namespace, descriptor).await {
            Ok(bytes) => {
                tell(&self.progress, descriptor, "exists", bytes.len() as u64);
                Ok(bytes)
            }
            // Damaged is as good as absent: what is fetched takes its place.
            Err(error) if error.is_not_found() || error.kind() == Kind::DataLoss => {
                tell(&self.progress, descriptor, "downloading", 0);
                self.session.small(descriptor).await
            }
            Err(error) => Err(error),
        }
    }

    /// Makes a document a blob, with its labels.
    async fn keep(&self, descriptor: &Descriptor, bytes: &Bytes, mut labels: Labels) -> Result<()> {
        self.add_source(&descriptor.digest, &mut labels);
        match self.shared.content.is_whole(&self.namespace, &descriptor.digest)? {
            true => self.shared.label(&self.namespace, &descriptor.digest, labels).await?,
            false => self.write(descriptor, bytes, labels).await?,
        }
        tell(&self.progress, descriptor, "done", bytes.len() as u64);
        Ok(())
    }

    async fn write(&self, descriptor: &Descriptor, bytes: &Bytes, labels: Labels) -> Result<()> {
        let content = &self.shared.content;
        if descriptor.digest.algorithm() == Algorithm::Sha256 {
            return content.put(&self.namespace, bytes.clone(), labels).await.map(drop);
        }
        let (ingest, expected) = (descriptor.ingest(), Some(descriptor.digest.clone()));
        let written = async {
            let mut writer = content.writer(&self.namespace, &ingest, bytes.len() as u64, expected).await?;
            writer.write(0, bytes.clone()).await?;
            writer.commit(bytes.len() as u64, Some(&descriptor.digest), labels).await
        };
        match written.await {
            Err(error) if !error.is_already_exists() => Err(error),
            _ => Ok(()),
        }
    }

    /// Adds the label that says which repositories have the blob: a later push may mount it from there.
    pub(crate) fn add_source(&self, digest: &Digest, labels: &mut Labels) {
        let reference = &self.session.reference;
        let key = format!("containerd.io/distribution.source.{}", reference.domain());
        let known = self.shared.content.info(&self.namespace, digest).ok();
        let known = known.and_then(|info| info.labels.get(&key).cloned()).unwrap_or_default();
        let mut repositories: Vec<&str> = known.split(',').filter(|text| !text.is_empty()).collect();
        if !repositories.contains(&reference.path()) {
            repositories.push(reference.path());
        }
        let value = repositories.join(",");
        // A blob that very many repositories share does not get a label too long to store.
        if ids::validate_label(&key, &value).is_ok() {
            labels.insert(key, value);
        }
    }
}
