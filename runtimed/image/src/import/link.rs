//! Checks what an archive's manifests refer to, labels it against collection, and points names at it.

use std::collections::BTreeSet;

use bytes::Bytes;
use errors::{Error, Kind, Result, WithKind};
use ids::{Labels, Reference};

use super::{Import, NameRule};
use crate::descriptor::media_type;
use crate::export::{ANNOTATION_NAME, ANNOTATION_REF};
use crate::images::{child_labels, not_an_image};
use crate::manifest::Index;
use crate::progress::tell_name;
use crate::{Descriptor, Image};

/// How deep an index may hold indexes.
const MAX_DEPTH: usize = 4;

impl Import {
    /// Checks what the archive's `index` lists, and says which names are to point where.
    pub(crate) async fn link(&self, index: Index) -> Result<Vec<(String, Descriptor)>> {
        let mut wanted: Vec<(String, Descriptor)> = Vec::new();
        for manifest in &index.manifests {
            if !(manifest.is_index() || manifest.is_manifest()) {
                return Err(not_an_image(manifest));
            }
            self.complete(manifest).await?;
            wanted.extend(self.names(manifest).into_iter().map(|name| (name, manifest.clone())));
        }
        if let Some(name) = &self.options.index_name {
            wanted.push((name.clone(), self.keep_index(&index).await?));
        }
        Ok(wanted)
    }

    /// Makes the names.
    pub(crate) async fn name_all(&self, wanted: Vec<(String, Descriptor)>) -> Result<Vec<Image>> {
        let mut images = Vec::with_capacity(wanted.len());
        for (name, target) in wanted {
            images.push(self.name(name, target).await?);
        }
        Ok(images)
    }

    async fn name(&self, name: String, target: Descriptor) -> Result<Image> {
        let now = std::time::SystemTime::now();
        let image =
            Image { name, labels: self.options.labels.clone(), target, created_at: now, updated_at: now };
        let image = self.shared.names.put(&self.namespace, image).await?;
        tell_name(&self.progress, &image.name, "saved");
        Ok(image)
    }

    async fn keep_index(&self, index: &Index) -> Result<Descriptor> {
        let bytes = Bytes::from(serde_json::to_vec(index).kind(Kind::Internal, || "write the index")?);
        let descriptor = self.keep_document(media_type::OCI_INDEX, bytes).await?;
        self.shared.label(&self.namespace, &descriptor.digest, child_labels(&index.manifests)).await?;
        Ok(descriptor)
    }

    /// Under `target` there must be at least one whole manifest, with `all_platforms` all of them; what is there has
    /// the size that its descriptor says. Documents get the labels that keep their children.
    async fn complete(&self, target: &Descriptor) -> Result<()> {
        let (mut whole, mut seen) = (0, BTreeSet::new());
        let mut pending = vec![(target.clone(), 0)];
        while let Some((descriptor, depth)) = pending.pop() {
            if !seen.insert(descriptor.digest.clone()) || depth > MAX_DEPTH {
                continue;
            }
            let absent = match self.check(&descriptor) {
                Ok(()) => None,
                Err(error) if error.is_not_found() => Some(error),
                Err(error) => return Err(error),
            };
            match absent {
                Some(error) if depth == 0 || self.options.all_platforms => return Err(error),
                Some(_) => {}
                None if descriptor.is_index() => {
                    let index = self.shared.index(&self.namespace, &descriptor).await?;
                    self.keep(&descriptor, child_labels(&index.manifests)).await?;
                    pending.extend(index.manifests.into_iter().map(|child| (child, depth + 1)));
                }
                None if descriptor.is_manifest() => {
                    self.complete_manifest(&descriptor).await?;
                    whole += 1;
                }
                None => {}
            }
        }
        if whole == 0 {
            let text = format!("the archive has no manifest of index {}: not found", target.digest);
            return Err(Error::not_found(text));
        }
        Ok(())
    }

    async fn complete_manifest(&self, descriptor: &Descriptor) -> Result<()> {
        let manifest = self.shared.manifest(&self.namespace, descriptor).await?;
        let children = || [&manifest.config].into_iter().chain(&manifest.layers);
        children().try_for_each(|child| self.check(child))?;
        self.keep(descriptor, child_labels(children())).await
    }

    async fn keep(&self, descriptor: &Descriptor, labels: Labels) -> Result<()> {
        self.shared.label(&self.namespace, &descriptor.digest, labels).await
    }

    /// Is the blob here, with the size that is said of it?
    fn check(&self, descriptor: &Descriptor) -> Result<()> {
        let info = self.shared.content.info(&self.namespace, &descriptor.digest)?;
        if info.size == descriptor.length()? {
            return Ok(());
        }
        Err(Error::precondition(format!(
            "blob {} is {} bytes, its descriptor says {}",
            descriptor.digest, info.size, descriptor.size
        )))
    }

    /// The names that a manifest gets, each once.
    fn names(&self, manifest: &Descriptor) -> Vec<String> {
        let annotation = |key: &str| manifest.annotations.get(key).filter(|text| !text.is_empty());
        let named = match (annotation(ANNOTATION_NAME), annotation(ANNOTATION_REF)) {
            (Some(full), _) => Some(full.clone()),
            (None, Some(short)) => self.options.names.apply(short),
            (None, None) => None,
        };
        let digest = self.options.digest_prefix.as_ref();
        let digest = digest.filter(|_| named.is_none() || !self.options.digest_only_unnamed);
        let digest = digest.map(|prefix| format!("{prefix}@{}", manifest.digest));
        named.into_iter().chain(digest).collect()
    }
}

impl NameRule {
    /// The full name of an archive's short one; nothing when it is not wanted.
    pub(crate) fn apply(&self, short: &str) -> Option<String> {
        let (prefix, only) = match self {
            NameRule::Keep => return Some(short.to_owned()),
            NameRule::Familiar => return Reference::parse(short).ok().map(|full| full.to_string()),
            NameRule::Prefix(prefix) => (prefix, false),
            NameRule::OnlyPrefix(prefix) => (prefix, true),
        };
        if prefix.is_empty() {
            return None;
        }
        if !short.contains(['/', ':', '@']) {
            return Some(format!("{prefix}:{short}"));
        }
        let fits = short
            .strip_prefix(prefix.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', ':', '@']));
        (fits || !only).then(|| short.to_owned())
    }
}
