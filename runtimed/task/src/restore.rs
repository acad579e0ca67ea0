//! Finds the tasks of an earlier daemon again.
//!
//! Every bundle is one task. All are looked at side by side; each is entered into the table before its shim
//! is asked anything, so one that does not answer is listed as unknown and holds up nobody.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use errors::{Context, Result};
use ids::{ContainerId, Namespace};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::actor::{self, Actor};
use crate::bundle::{self, Bootstrap, Bundle, Ended, Hidden};
use crate::ledger::Ledger;
use crate::table::{Key, Table, blocking};
use crate::types::{Config, Exit};
use crate::{shim_delete, shim_end, shim_serve};

/// Where the executors of containerd's shims keep what they know, unless they are told otherwise: a folder a namespace, in it one a container.
const EXECUTORS: &str = "/run/containerd/runc";

/// What a bundle says of its task.
enum Found {
    /// A shim was running there.
    Shim(Bootstrap, Option<Ended>),
    /// The shim is known to be dead; the task waits to be deleted.
    Lost(Ended),
    /// The daemon ended before the shim could be reached.
    HalfMade,
}

/// What is in the state folder.
#[derive(Default)]
struct Scan {
    tasks: Vec<(Key, Bundle, Found)>,
    /// Tasks that are deleted, but for what is left of them.
    left: Vec<(Key, Hidden)>,
}

/// Restores all tasks; answers when each is known, or after `shim_timeout`. The rest goes on in the
/// background.
pub(crate) async fn restore(table: &Arc<Table>) -> Result<()> {
    let config = table.shared.config.clone();
    let step = marks::step("task.open.scan")?;
    let found = blocking(move || scan(&config)).await?;
    drop(step);
    let mut restored = JoinSet::new();
    let mut actors = Vec::new();
    clear_left(table, &found, &mut restored);
    for (key, bundle, found) in found.tasks {
        if bundle.is_auto_removed() {
            table.auto_removed().push(key.clone());
        }
        match found {
            Found::Lost(ended) => {
                let actor =
                    Actor::lost(table, &key, claimed(table, &key, Some(ended)).await?, bundle, ended.exit());
                actors.push(actor::enter(table, &key, actor));
            }
            Found::Shim(bootstrap, ended) => {
                let (settled, known) = oneshot::channel();
                let ledger = claimed(table, &key, ended).await?;
                let reported = ended.map(|ended| ended.exit());
                let actor = Actor::restored(table, &key, ledger, bundle, bootstrap, reported, settled);
                actors.push(actor::enter(table, &key, actor));
                // An actor that leaves is settled, too.
                restored.spawn(async { known.await.unwrap_or_default() });
            }
            Found::HalfMade => {
                table.reserve(&key).await?;
                let table = table.clone();
                restored.spawn(async move {
                    // Nobody was told of it: nobody is told how it ended.
                    let _ = clean(&table.shared.config, &key, bundle).await;
                    table.remove(&key);
                });
            }
        }
    }
    // Only now, since one must know of the others before it decides that nobody shares its shim.
    actors.into_iter().for_each(|actor| drop(tokio::spawn(actor)));
    settle(restored, table.shared.config.shim_timeout).await;
    Ok(())
}

/// Ends what deleted tasks have left, side by side; nobody gets such an id before.
fn clear_left(table: &Arc<Table>, found: &Scan, restored: &mut JoinSet<()>) {
    let addresses = found.tasks.iter().filter_map(|(_, _, found)| match found {
        Found::Shim(bootstrap, _) => Some(bootstrap.address.as_str()),
        _ => None,
    });
    let addresses: HashSet<&str> = addresses.collect();
    for (key, hidden) in &found.left {
        let address = hidden.read_bootstrap().ok().map(|bootstrap| bootstrap.address);
        // A pod's shim goes with its last task.
        let shared = address.as_deref().is_some_and(|address| addresses.contains(address));
        // Its own id may have a new task by now: then what is left had lost its shim before.
        let taken = found.tasks.iter().any(|(other, ..)| other == key);
        let leaving = (!taken).then(|| table.leave(key, Ledger::default()));
        let (table, key, hidden) = (table.clone(), key.clone(), hidden.clone());
        restored.spawn(async move {
            clear_one(&table.shared.config, &key, hidden, address.filter(|_| !shared)).await;
            if leaving.is_some() {
                table.remove(&key);
            }
        });
    }
}

/// Ends the shim of a deleted task, unless it serves others, and removes the bundle.
async fn clear_one(config: &Config, key: &Key, hidden: Hidden, address: Option<String>) {
    let (namespace, id) = key;
    let _step = marks::begun("task.open.left");
    if let Some(address) = address {
        shim_end::clear_strays(hidden.path(), id).await;
        shim_end::remove_socket(&address);
        shim_serve::remove_socket(config, namespace, id);
    }
    if let Err(error) = blocking(move || hidden.remove()).await {
        tracing::warn!(%namespace, %id, error = %error.chain(), "remove what a deleted task has left");
    }
}

/// Waits until each task is known, but not for longer than `limit`.
async fn settle(mut restored: JoinSet<()>, limit: Duration) {
    let all = async { while restored.join_next().await.is_some() {} };
    if tokio::time::timeout(limit, all).await.is_err() {
        tracing::warn!(
            shims = restored.len(),
            "some shims do not answer; their tasks are unknown until they do"
        );
    }
    restored.detach_all();
}

/// Takes the id; an exit that was reported is not reported again.
async fn claimed(table: &Table, key: &Key, reported: Option<Ended>) -> Result<Ledger> {
    let ledger = table.reserve(key).await?;
    if let Some(ended) = reported.filter(|ended| ended.reported) {
        ledger.claim("", ended.exit().pid);
    }
    Ok(ledger)
}

/// Takes away what a creation left that nobody was told the success of.
async fn clean(config: &Config, key: &Key, bundle: Bundle) -> Result<Exit> {
    let (namespace, id) = key;
    let _step = marks::begun("task.open.clean");
    tracing::info!(%namespace, %id, "remove a half made task");
    shim_end::clear_strays(bundle.path(), id).await;
    shim_serve::remove_socket(config, namespace, id);
    let ended = shim_delete::delete(config, namespace, id, &bundle).await;
    if let Err(error) = &ended {
        tracing::debug!(%namespace, %id, error = %error.chain(), "clean after a half made task");
    }
    if let Err(error) = blocking(move || bundle.remove()).await {
        tracing::warn!(%namespace, %id, error = %error.chain(), "remove a half made task");
    }
    ended
}

/// Ends what is left of a task that ran, and of which there is no bundle: nothing says where its shim is, but the executor may know its
/// container still. Says how it ended; nothing is left after a reboot.
pub(crate) async fn clear_lost(table: &Table, key: &Key) -> Result<Option<Exit>> {
    let (namespace, id) = key;
    if table.find(key).is_ok() || !Path::new(EXECUTORS).join(namespace.as_str()).join(id.as_str()).exists() {
        return Ok(None);
    }
    tracing::warn!(%namespace, %id, "the bundle of a task has vanished; what is left of its container is ended");
    let config = &table.shared.config;
    let bundle = Bundle::of(config, namespace, id);
    // Whoever cleans works there.
    fs::create_dir_all(bundle.path()).context(|| format!("mkdir -p {}", bundle.path().display()))?;
    clean(config, key, bundle).await.map(Some)
}

fn look(bundle: &Bundle) -> Result<Found> {
    let ended = bundle.read_exit()?;
    if let Some(ended) = ended.filter(|ended| ended.lost) {
        return Ok(Found::Lost(ended));
    }
    match bundle.read_bootstrap() {
        Ok(bootstrap) => Ok(Found::Shim(bootstrap, ended)),
        Err(error) if error.is_not_found() => Ok(Found::HalfMade),
        Err(error) => Err(error),
    }
}

/// All bundles; removes work folders without a bundle.
fn scan(config: &Config) -> Result<Scan> {
    let (bundles, works) = bundle::homes(config);
    let mut all = Scan::default();
    for name in names(&bundles)? {
        let folder = bundles.join(&name);
        let Ok(namespace) = Namespace::parse(&name) else {
            tracing::warn!(folder = %folder.display(), "not a namespace; it is left alone");
            continue;
        };
        for name in entries(&folder)? {
            scan_one(config, &namespace, &name, &mut all);
        }
        // Refuses while there is still a task in it.
        let _ = fs::remove_dir(&folder);
    }
    for namespace in names(&works)? {
        sweep_works(&works.join(&namespace), &bundles.join(&namespace))?;
    }
    Ok(all)
}

fn scan_one(config: &Config, namespace: &Namespace, name: &str, all: &mut Scan) {
    let Ok(id) = ContainerId::parse(name.strip_prefix('.').unwrap_or(name)) else {
        tracing::warn!(%namespace, name, "not a task; it is left alone");
        return;
    };
    let bundle = Bundle::of(config, namespace, &id);
    let noted = match name.starts_with('.') {
        true => bundle.hidden().map(|hidden| {
            all.left.extend(hidden.map(|hidden| ((namespace.clone(), id.clone()), hidden)));
        }),
        false => look(&bundle).map(|found| all.tasks.push(((namespace.clone(), id.clone()), bundle, found))),
    };
    if let Err(error) = noted {
        // Nothing is destroyed on the ground of what could not be read.
        tracing::error!(%namespace, %id, error = %error.chain(), "read a bundle; it is left alone");
    }
}

fn sweep_works(works: &Path, bundles: &Path) -> Result<()> {
    for name in entries(works)?.into_iter().filter(|name| name.starts_with('.')) {
        let path = works.join(name);
        if let Err(error) = bundle::clear(&path) {
            // Not worth the daemon's start.
            tracing::warn!(path = %path.display(), %error, "remove a work folder");
        }
    }
    for id in names(works)? {
        if !bundles.join(&id).exists() {
            bundle::remove_tree(&works.join(&id))?;
        }
    }
    // Refuses while there is still one in it.
    let _ = fs::remove_dir(works);
    Ok(())
}

fn names(folder: &Path) -> Result<Vec<String>> {
    Ok(entries(folder)?.into_iter().filter(|name| !name.starts_with('.')).collect())
}

/// The names in a folder; none if there is no such folder.
fn entries(folder: &Path) -> Result<Vec<String>> {
    let shown = || format!("read {}", folder.display());
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.context(shown)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        // Other names were not made by us.
        names.extend(entry.context(shown)?.file_name().into_string());
    }
    Ok(names)
}
