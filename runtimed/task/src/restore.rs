//! Finds the tasks of an earlier daemon again.
//!
//! Every bundle is one task. All are looked at side by side; each is entered into the table before its shim
//! is asked anything, so one that does not answer is listed as unknown and holds up nobody.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use errors::{Context, Result};
use ids::{ContainerId, Namespace};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::actor::{self, Actor};
use crate::bundle::{self, Bootstrap, Bundle, Ended};
use crate::ledger::Ledger;
use crate::table::{Key, Table, blocking};
use crate::types::Config;
use crate::{shim_delete, shim_end, shim_serve};

/// What a bundle says of its task.
enum Found {
    /// A shim was running there.
    Shim(Bootstrap, Option<Ended>),
    /// The shim is known to be dead; the task waits to be deleted.
    Lost(Ended),
    /// The daemon ended before the shim could be reached.
    HalfMade,
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
    for (key, bundle, found) in found {
        match found {
            Found::Lost(ended) => {
                let actor =
                    Actor::lost(table, &key, claimed(table, &key, Some(ended))?, bundle, ended.exit());
                actors.push(actor::enter(table, &key, actor));
            }
            Found::Shim(bootstrap, ended) => {
                let (settled, known) = oneshot::channel();
                let ledger = claimed(table, &key, ended)?;
                let reported = ended.map(|ended| ended.exit());
                let actor = Actor::restored(table, &key, ledger, bundle, bootstrap, reported, settled);
                actors.push(actor::enter(table, &key, actor));
                // An actor that leaves is settled, too.
                restored.spawn(async { known.await.unwrap_or_default() });
            }
            Found::HalfMade => {
                table.reserve(&key)?;
                let table = table.clone();
                restored.spawn(async move {
                    clean(&table.shared.config, &key, bundle).await;
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
fn claimed(table: &Table, key: &Key, reported: Option<Ended>) -> Result<Ledger> {
    let ledger = table.reserve(key)?;
    if let Some(ended) = reported.filter(|ended| ended.reported) {
        ledger.claim("", ended.exit().pid);
    }
    Ok(ledger)
}

/// Takes away what a creation left that nobody was told the success of.
async fn clean(config: &Config, key: &Key, bundle: Bundle) {
    let (namespace, id) = key;
    let _step = marks::begun("task.open.clean");
    tracing::info!(%namespace, %id, "remove a half made task");
    shim_end::clear_strays(bundle.path(), id).await;
    shim_serve::remove_socket(config, namespace, id);
    if let Err(error) = shim_delete::delete(config, namespace, id, &bundle).await {
        tracing::debug!(%namespace, %id, error = %error.chain(), "clean after a half made task");
    }
    if let Err(error) = blocking(move || bundle.remove()).await {
        tracing::warn!(%namespace, %id, error = %error.chain(), "remove a half made task");
    }
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

/// All bundles; removes what earlier removals have left, and work folders without a bundle.
fn scan(config: &Config) -> Result<Vec<(Key, Bundle, Found)>> {
    let (bundles, works) = bundle::homes(config);
    let mut all = Vec::new();
    for namespace in names(&bundles)? {
        let folder = bundles.join(&namespace);
        sweep(&folder, bundle::discard)?;
        let Ok(namespace) = Namespace::parse(&namespace) else {
            tracing::warn!(folder = %folder.display(), "not a namespace; it is left alone");
            continue;
        };
        for id in names(&folder)? {
            let Ok(id) = ContainerId::parse(&id) else {
                tracing::warn!(folder = %folder.display(), id, "not a task; it is left alone");
                continue;
            };
            let bundle = Bundle::of(config, &namespace, &id);
            match look(&bundle) {
                Ok(found) => all.push(((namespace.clone(), id), bundle, found)),
                // Nothing is destroyed on the ground of what could not be read.
                Err(error) => {
                    tracing::error!(%namespace, %id, error = %error.chain(), "read a bundle; it is left alone");
                }
            }
        }
        // Refuses while there is still a task in it.
        let _ = fs::remove_dir(&folder);
    }
    for namespace in names(&works)? {
        sweep_works(&works.join(&namespace), &bundles.join(&namespace))?;
    }
    Ok(all)
}

/// Removes hidden folders: their removal was begun.
fn sweep(folder: &Path, remove: impl Fn(&Path) -> Result<()>) -> Result<()> {
    for name in entries(folder)?.into_iter().filter(|name| name.starts_with('.')) {
        let path = folder.join(name);
        if let Err(error) = remove(&path) {
            // Not worth the daemon's start.
            tracing::warn!(path = %path.display(), error = %error.chain(), "sweep");
        }
    }
    Ok(())
}

fn sweep_works(works: &Path, bundles: &Path) -> Result<()> {
    sweep(works, |path| bundle::clear(path).context(|| "remove a work folder"))?;
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
