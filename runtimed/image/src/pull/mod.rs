//! From a registry into content and snapshots.
//!
//! Resolve; fetch the documents down to one manifest a platform; fetch the layers in parallel, and unpack them in order
//! while they come; last, point the name at it.

mod documents;
mod feed;
mod layer;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use errors::{Error, Kind, Result, WithKind};
use ids::{Digest, Labels, Namespace, Reference};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};

pub(crate) use feed::{Arrival, Failed, Feed};

use crate::images::{Hold, Shared, image_config};
use crate::progress::{ProgressSink, tell_name};
use crate::registry::{Access, Credentials, Login, Session};
use crate::unpack::{self, Source, Stop};
use crate::{Descriptor, Image, ImageConfig, Platform};
use documents::Found;

/// What a caller wants of one pull.
#[derive(Clone, Default)]
pub struct PullOptions {
    /// The platform; `None` is this machine's.
    pub platform: Option<Platform>,
    /// All platforms' content; only `platform` is unpacked.
    pub all_platforms: bool,
    /// Plain http (also used for loopback without being asked).
    pub plain_http: bool,
    /// Do not verify TLS certificates.
    pub insecure: bool,
    /// Credentials.
    pub credentials: Option<Credentials>,
    /// A folder of `HOST/hosts.toml` instead of the configured one.
    pub hosts_directory: Option<PathBuf>,
    /// Header fields for the registry itself; mirrors and hosts that it redirects to do not see them.
    pub headers: Vec<(String, String)>,
    /// Unpack into this snapshotter; `None` leaves it packed.
    pub unpack: Option<String>,
    /// Labels for the name.
    pub labels: Labels,
    /// Holds what arrives until the name points to it: mostly adds it to a lease.
    pub hold: Option<Hold>,
}

/// One pull's belongings, shared by its tasks.
pub(crate) struct Pull {
    shared: Arc<Shared>,
    namespace: Namespace,
    session: Arc<Session>,
    hold: Option<Hold>,
    progress: ProgressSink,
    permits: Arc<Semaphore>,
    /// Is an unpacked layer the end, or a fetched one?
    unpacks: bool,
    /// The first failed fetch: what then fails behind it tells less.
    failure: Mutex<Option<Error>>,
}

pub(crate) async fn pull(
    shared: &Arc<Shared>,
    namespace: &Namespace,
    reference: &Reference,
    name: &str,
    options: &PullOptions,
    progress: ProgressSink,
) -> Result<Image> {
    if let Some(snapshotter) = &options.unpack {
        shared.snapshotters.get(snapshotter)?;
    }
    let step = marks::step("image.pull.session")?;
    let session = shared.registries.session(reference, options.login()).await?;
    drop(step);
    let pull = Arc::new(Pull {
        shared: shared.clone(),
        namespace: namespace.clone(),
        session: Arc::new(session),
        hold: options.hold.clone(),
        progress,
        permits: Arc::new(Semaphore::new(shared.config.concurrency())),
        unpacks: options.unpack.is_some() && !options.all_platforms,
        failure: Mutex::new(None),
    });
    let target = pull.run(reference, options).await?;
    let _step = marks::step("image.pull.name")?;
    let now = std::time::SystemTime::now();
    let image = Image {
        name: name.to_owned(),
        labels: options.labels.clone(),
        target,
        created_at: now,
        updated_at: now,
    };
    let image = shared.names.put(namespace, image).await?;
    tell_name(&pull.progress, name, "saved");
    Ok(image)
}

impl PullOptions {
    fn login(&self) -> Login {
        Login {
            access: Access { plain_http: self.plain_http, insecure: self.insecure },
            credentials: self.credentials.clone(),
            hosts_directory: self.hosts_directory.clone(),
            headers: self.headers.clone(),
            push: false,
        }
    }
}

impl Pull {
    async fn run(self: &Arc<Pull>, reference: &Reference, options: &PullOptions) -> Result<Descriptor> {
        tell_name(&self.progress, &reference.to_string(), "resolving");
        let mut step = marks::step("image.pull.resolve")?;
        let (target, document) = self.session.resolve().await?;
        step.next("image.pull.documents")?;
        tell_name(&self.progress, &reference.to_string(), "resolved");
        let platform = options.platform.clone().unwrap_or_else(Platform::host);
        let found = self.documents(&target, document, (!options.all_platforms).then_some(&platform)).await?;
        step.next("image.pull.layers")?;
        if !options.all_platforms {
            for manifest in found {
                self.one(manifest, options.unpack.as_deref()).await?;
            }
            return Ok(target);
        }
        for manifest in found {
            self.one(manifest, None).await?;
        }
        if let Some(snapshotter) = &options.unpack {
            let image = self.shared.image_config(&self.namespace, &target, &platform).await?;
            let progress = self.progress.clone();
            unpack::unpack_stored(
                &self.shared,
                &self.namespace,
                &image,
                snapshotter,
                self.hold.as_ref(),
                progress,
            )
            .await?;
        }
        Ok(target)
    }

    /// Brings in one manifest's layers, and unpacks them if asked.
    async fn one(self: &Arc<Pull>, found: Found, snapshotter: Option<&str>) -> Result<()> {
        let layers = found.manifest.layers.clone();
        let (fetches, feeds) = self.start_fetches(&layers);
        let unpacking = match snapshotter {
            Some(snapshotter) => {
                let image = image_config(found.config, found.descriptor, found.manifest)?;
                let stop = Stop::new();
                Some((self.start_unpack(image, snapshotter, feeds, &stop), stop))
            }
            None => {
                drop(feeds);
                None
            }
        };
        let finished = self.finish(fetches, unpacking).await;
        if let Err(error) = &finished
            && !layer::may_go_on(error)
        {
            // Those beside the one that failed were cut off in the middle.
            for layer in &layers {
                self.abort(layer).await;
            }
        }
        finished
    }

    /// One fetch for each distinct layer; a source for each layer.
    fn start_fetches(self: &Arc<Pull>, layers: &[Descriptor]) -> (JoinSet<Result<()>>, Vec<Source>) {
        let mut fetches = JoinSet::new();
        let mut first: HashMap<Digest, feed::Arrival> = HashMap::new();
        let mut sources = Vec::with_capacity(layers.len());
        for layer in layers {
            if let Some(arrival) = first.get(&layer.digest) {
                sources.push(Source::Arriving(arrival.clone()));
                continue;
            }
            let (tap, feed) = feed::feed();
            first.insert(layer.digest.clone(), feed.arrival());
            sources.push(Source::Feed(feed));
            fetches.spawn(marks::carry(layer::fetch(self.clone(), layer.clone(), tap)));
        }
        (fetches, sources)
    }

    /// Unpacking runs on by itself even if the pull is given up: it then finds its sources cut off and cleans up.
    fn start_unpack(
        &self,
        image: ImageConfig,
        snapshotter: &str,
        sources: Vec<Source>,
        stop: &Stop,
    ) -> JoinHandle<Result<Option<Digest>>> {
        let unpack = Arc::new(unpack::Unpack {
            shared: self.shared.clone(),
            namespace: self.namespace.clone(),
            snapshotter: snapshotter.to_owned(),
            hold: self.hold.clone(),
            progress: self.progress.clone(),
            stop: stop.clone(),
        });
        tokio::spawn(marks::carry(async move { unpack.run(&image, sources).await }))
    }

    /// Waits for all; the first failure ends the rest.
    async fn finish(
        &self,
        mut fetches: JoinSet<Result<()>>,
        mut unpacking: Option<(JoinHandle<Result<Option<Digest>>>, Stop)>,
    ) -> Result<()> {
        let mut failed = None;
        while failed.is_none() {
            let stop = unpacking.as_ref().map(|(_, stop)| stop.clone());
            tokio::select! {
                Some(fetched) = fetches.join_next() => failed = ended(fetched).err(),
                Some(unpacked) = wait_for(&mut unpacking) => {
                    unpacking = None;
                    failed = ended(unpacked).err();
                }
                // It has failed, and cleans up once nothing feeds it any more.
                Some(()) = heard(stop.as_ref()) => break,
                else => return Ok(()),
            }
        }
        fetches.shutdown().await;
        if let Some((unpacking, _)) = unpacking {
            // Its sources are cut off: it removes what it made and ends.
            failed = failed.or(ended(unpacking.await).err());
        }
        let first = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        first.or(failed).map_or(Ok(()), Err)
    }
}

async fn wait_for<T>(task: &mut Option<(JoinHandle<T>, Stop)>) -> Option<Result<T, tokio::task::JoinError>> {
    match task {
        Some((task, _)) => Some(task.await),
        None => None,
    }
}

async fn heard(stop: Option<&Stop>) -> Option<()> {
    stop?.heard().await;
    Some(())
}

fn ended<T>(joined: Result<Result<T>, tokio::task::JoinError>) -> Result<T> {
    joined.kind(Kind::Internal, || "a task of the pull ended before its time").and_then(|result| result)
}
