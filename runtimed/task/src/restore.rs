//! Finds the tasks of an earlier daemon again.
//!
//! Every bundle is one task. All are looked at side by side; each is entered into the table before its shim is asked anything,
//! so one that does not answer is listed as unknown and holds up nobody.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use errors::{Context, Result};
use ids::{ContainerId, Namespace};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::actor::{self, Actor};
use crate::bundle::{self, Bootstrap, Bundle, Ended};
use crate::ledger::Ledger;
use crate::shim_log::ShimLog;
use crate::table::{Key, Table, blocking};
use crate::types::Config;
use crate::{shim_delete, shim_end};

/// What a bundle says of its task.
enum Found {
    /// A shim was running there.
    Shim(Bootstrap, Option<Ended>),
    /// The shim is known to be dead; the task waits to be deleted.
    Lost(Ended),
    /// The daemon ended before the shim could be reached.
    HalfMade,
}

/// Restores all tasks; answers when each is known, or after `shim_timeout`. The rest goes on in the background.
pub(crate) async fn restore(table: &Arc<Table>) -> Result<()> {
    let config = table.shared.config.clone();
    let keys = blocking(move || scan(&config)).await?;
    let mut restored = JoinSet::new();
    for key in keys {
        let ledger = table.reserve(&key)?;
        restored.spawn(restore_one(table.clone(), key, ledger));
    }
    let all = async { while restored.join_next().await.is_some() {} };
    if tokio::time::timeout(table.shared.config.shim_timeout, all).await.is_err() {
        tracing::warn!(
            shims = restored.len(),
            "some shims do not answer; their tasks are unknown until they do"
        );
    }
    restored.detach_all();
    Ok(())
}

async fn restore_one(table: Arc<Table>, key: Key, ledger: Ledger) {
    let bundle = Bundle::of(&table.shared.config, &key.0, &key.1);
    let place = bundle.clone();
    let found = match blocking(move || look(&place)).await {
        Ok(found) => found,
        Err(error) => {
            // Nothing is destroyed on the ground of what could not be read.
            tracing::error!(namespace = %key.0, id = %key.1, error = %error.chain(), "read a bundle; it is left alone");
            table.remove(&key);
            return;
        }
    };
    match found {
        Found::Lost(ended) => {
            ledger.claim("");
            actor::spawn(&table, &key, Actor::lost(&table, &key, ledger, bundle, &ended));
        }
        Found::Shim(bootstrap, ended) => {
            if ended.is_some() {
                ledger.claim("");
            }
            let log = open_log(&bundle, &key);
            let (settled, known) = oneshot::channel();
            let actor = Actor::restored(&table, &key, ledger, bundle, bootstrap, log, settled);
            actor::spawn(&table, &key, actor);
            // An actor that leaves is settled, too.
            let _ = known.await;
        }
        Found::HalfMade => {
            clean(&table.shared.config, &key, bundle).await;
            table.remove(&key);
        }
    }
}

fn open_log(bundle: &Bundle, key: &Key) -> Option<ShimLog> {
    match ShimLog::open(&bundle.log(), &key.0, &key.1) {
        Ok(log) => Some(log),
        Err(error) => {
            tracing::warn!(id = %key.1, error = %error.chain(), "a shim's log is lost");
            None
        }
    }
}

/// Takes away what a creation left that nobody was told the success of.
async fn clean(config: &Config, key: &Key, bundle: Bundle) {
    let (namespace, id) = key;
    tracing::info!(%namespace, %id, "remove a half made task");
    shim_end::kill_strays(bundle.path()).await;
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

/// The names of all bundles; removes what earlier removals have left, and work folders without a bundle.
fn scan(config: &Config) -> Result<Vec<Key>> {
    let (bundles, works) = bundle::homes(config);
    let mut keys = Vec::new();
    for namespace in names(&bundles)? {
        let folder = bundles.join(&namespace);
        sweep(&folder)?;
        let Ok(namespace) = Namespace::parse(&namespace) else {
            tracing::warn!(folder = %folder.display(), "not a namespace; it is left alone");
            continue;
        };
        for id in names(&folder)? {
            match ContainerId::parse(&id) {
                Ok(id) => keys.push((namespace.clone(), id)),
                Err(_) => tracing::warn!(folder = %folder.display(), id, "not a task; it is left alone"),
            }
        }
    }
    for namespace in names(&works)? {
        sweep_works(&works.join(&namespace), &bundles.join(&namespace))?;
    }
    Ok(keys)
}

/// Removes hidden folders: their removal was begun. Their mounts were gone before they were renamed.
fn sweep(folder: &Path) -> Result<()> {
    for name in entries(folder)?.into_iter().filter(|name| name.starts_with('.')) {
        let path = folder.join(name);
        bundle::clear(&path).context(|| format!("remove {}", path.display()))?;
    }
    Ok(())
}

fn sweep_works(works: &Path, bundles: &Path) -> Result<()> {
    sweep(works)?;
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
