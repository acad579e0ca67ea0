//! From content to a registry: blobs first, then what refers to them, the tag last.

use std::path::PathBuf;
use std::sync::Arc;

use errors::{Error, Kind, Result, WithKind};
use ids::{Namespace, Reference};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::images::{Shared, not_an_image};
use crate::progress::{ProgressSink, tell, tell_name};
use crate::registry::{Access, Credentials, Login, Session};
use crate::{Descriptor, Platform};

/// How deep an index may hold indexes.
const MAX_DEPTH: usize = 4;

/// What a caller wants of one push.
#[derive(Clone, Default)]
pub struct PushOptions {
    /// Only this platform's manifest, which the tag then points to; `None` is all that the target refers to.
    pub platform: Option<Platform>,
    /// Plain http (also used for loopback without being asked).
    pub plain_http: bool,
    /// Do not verify TLS certificates.
    pub insecure: bool,
    /// Credentials.
    pub credentials: Option<Credentials>,
    /// A folder of `HOST/hosts.toml` instead of the configured one.
    pub hosts_directory: Option<PathBuf>,
    /// Header fields for the registry itself.
    pub headers: Vec<(String, String)>,
}

/// What goes up, in the order in which it may.
#[derive(Default)]
struct Plan {
    blobs: Vec<Descriptor>,
    /// Children before parents; the target last.
    documents: Vec<Descriptor>,
}

pub(crate) async fn push(
    shared: &Arc<Shared>,
    namespace: &Namespace,
    target: &Descriptor,
    reference: &Reference,
    options: &PushOptions,
    progress: ProgressSink,
) -> Result<()> {
    let target = match &options.platform {
        Some(platform) => shared.select(namespace, target, platform).await?.0,
        None => target.clone(),
    };
    let plan = Plan::of(shared, namespace, &target).await?;
    let session = Arc::new(shared.registries.session(reference, options.login()).await?);
    blobs(shared, namespace, &session, plan.blobs, &progress).await?;
    for document in &plan.documents {
        let bytes = shared.read_small(namespace, document).await?;
        let digest = document.digest.to_string();
        let object = if document.digest == target.digest { reference.object() } else { digest };
        session.put_manifest(document, bytes, &object).await?;
        tell(&progress, document, "done", document.length()?);
    }
    tell_name(&progress, &reference.to_string(), "done");
    Ok(())
}

impl PushOptions {
    fn login(&self) -> Login {
        Login {
            access: Access { plain_http: self.plain_http, insecure: self.insecure },
            credentials: self.credentials.clone(),
            hosts_directory: self.hosts_directory.clone(),
            headers: self.headers.clone(),
            push: true,
        }
    }
}

impl Plan {
    async fn of(shared: &Shared, namespace: &Namespace, target: &Descriptor) -> Result<Plan> {
        let mut plan = Plan::default();
        let mut pending = vec![(target.clone(), 0)];
        while let Some((descriptor, depth)) = pending.pop() {
            if descriptor.is_index() && depth < MAX_DEPTH {
                let index = shared.index(namespace, &descriptor).await?;
                pending.extend(index.manifests.into_iter().map(|child| (child, depth + 1)));
            } else if descriptor.is_manifest() {
                let manifest = shared.manifest(namespace, &descriptor).await?;
                plan.blobs.extend([manifest.config].into_iter().chain(manifest.layers));
            } else {
                return Err(not_an_image(&descriptor));
            }
            plan.documents.push(descriptor);
        }
        // Parents were met first.
        plan.documents.reverse();
        let mut seen = std::collections::BTreeSet::new();
        plan.blobs.retain(|blob| seen.insert(blob.digest.clone()));
        for blob in &plan.blobs {
            shared.content.info(namespace, &blob.digest)?;
        }
        Ok(plan)
    }
}

/// Uploads what the registry lacks, several at once.
async fn blobs(
    shared: &Arc<Shared>,
    namespace: &Namespace,
    session: &Arc<Session>,
    blobs: Vec<Descriptor>,
    progress: &ProgressSink,
) -> Result<()> {
    let permits = Arc::new(Semaphore::new(shared.config.concurrency()));
    let mut uploads = JoinSet::new();
    for blob in blobs {
        tell(progress, &blob, "waiting", 0);
        let (shared, namespace, session) = (shared.clone(), namespace.clone(), session.clone());
        let (permits, progress) = (permits.clone(), progress.clone());
        uploads.spawn(async move {
            let _permit =
                permits.acquire_owned().await.kind(Kind::Internal, || "wait for a turn to upload")?;
            one(&shared, &namespace, &session, &blob, &progress).await
        });
    }
    while let Some(uploaded) = uploads.join_next().await {
        uploaded.kind(Kind::Internal, || "an upload ended before its time")??;
    }
    Ok(())
}

async fn one(
    shared: &Shared,
    namespace: &Namespace,
    session: &Session,
    blob: &Descriptor,
    progress: &ProgressSink,
) -> Result<()> {
    if session.has_blob(&blob.digest).await? {
        tell(progress, blob, "exists", blob.length()?);
        return Ok(());
    }
    let open = || {
        let open = shared.content.open_blob(namespace, &blob.digest)?;
        match blob.length()? == open.size() {
            true => Ok(open),
            false => Err(Error::precondition(format!(
                "blob {} is {} bytes, its descriptor says {}",
                blob.digest,
                open.size(),
                blob.size
            ))),
        }
    };
    let (told, told_of) = (progress.clone(), blob.clone());
    session.put_blob(blob, open, move |offset| tell(&told, &told_of, "uploading", offset)).await?;
    tell(progress, blob, "done", blob.length()?);
    Ok(())
}
