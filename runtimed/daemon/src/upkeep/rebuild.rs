//! `runtimed metadata rebuild`: a new store from what can be read of the old one and of its copy, from the blobs and the snapshots on
//! disk, and from what runs. The old one is moved aside.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use container::{Container, Containers};
use errors::{Context, Error, Result};
use events::Bus;
use ids::{Labels, Namespace};
use metadata::{Salvage, Store};
use prost_types::Any;
use time::OffsetDateTime;
use time::macros::format_description;

use super::running::{Running, running};
use crate::config::Config;

/// The type URL of a runtime spec, as containerd has it.
const SPEC: &str = "types.containerd.io/opencontainers/runtime-spec/1/Spec";
/// Where blobs go that no record names.
const NAMESPACE: &str = "default";
/// Keeps what was found from garbage collection until somebody has looked at it.
const GC_ROOT: &str = "containerd.io/gc.root";

/// Makes the store anew, and says what was found and done, a sentence each. A store that is whole, and agrees with the disk, is only
/// made anew with `force`.
pub async fn rebuild(config: &Config, force: bool) -> Result<Vec<String>> {
    let root = &config.root;
    if !force && super::exists(root) && super::check(root, false).is_ok_and(|findings| findings.is_empty()) {
        return Err(Error::precondition(format!(
            "the store in {} is whole, and agrees with the disk: there is nothing to rebuild (--force does it all the same)",
            super::store(root).display()
        )));
    }
    let building = root.join("metadata.rebuilding");
    remove_all(&building)?;
    let mut said = Vec::new();
    let store = Store::open(&building)?;
    take_records(root, &store, &mut said).await?;
    let labels = Labels::from([(GC_ROOT.to_owned(), "rebuilt".to_owned())]);
    take_blobs(root, &store, &labels, &mut said).await?;
    let tasks = running(&config.state)?;
    take_snapshots(root, &store, &tasks, &labels, &mut said).await?;
    take_tasks(config, &store, tasks, &mut said).await?;
    said.extend(super::check::references(root, &store, false)?);
    store.flush().await?;
    drop(store);
    put_in_place(root, &building, &mut said)?;
    Ok(said)
}

/// What the old store and its copy say.
async fn take_records(root: &Path, store: &Store, said: &mut Vec<String>) -> Result<()> {
    let mut salvage = match Salvage::open(&super::store(root), &super::copy(root)) {
        Ok(salvage) => salvage,
        Err(error) => {
            said.push(error.chain());
            return Ok(());
        }
    };
    let mut lines = Vec::new();
    salvage.export(&mut lines)?;
    said.extend(salvage.findings().iter().cloned());
    let count = store.import(lines.as_slice()).await?;
    said.push(format!("{count} records were taken over"));
    Ok(())
}

async fn take_blobs(root: &Path, store: &Store, labels: &Labels, said: &mut Vec<String>) -> Result<()> {
    let rebuilt = content::rebuild(root, store, &Namespace::parse(NAMESPACE)?, labels).await?;
    said.push(format!("{} blobs are as their records say", rebuilt.kept));
    if rebuilt.adopted > 0 {
        said.push(format!("{} blobs had no record: namespace {NAMESPACE} has them now", rebuilt.adopted));
    }
    let damaged = rebuilt
        .damaged
        .iter()
        .map(|digest| format!("blob {digest} is damaged, and was set aside: pull it again"));
    said.extend(damaged);
    said.extend(rebuilt.missing.iter().map(|digest| format!("blob {digest} is missing: pull it again")));
    Ok(())
}

async fn take_snapshots(
    root: &Path,
    store: &Store,
    tasks: &[Running],
    labels: &Labels,
    said: &mut Vec<String>,
) -> Result<()> {
    let mounted: Vec<_> = tasks.iter().filter_map(|task| task.mounted.clone()).collect();
    let rebuilt = snapshot::rebuild(root, store, &mounted, labels).await?;
    said.push(format!("{} snapshots are as their records say", rebuilt.kept));
    if rebuilt.adopted > 0 {
        said.push(format!("{} snapshots are known by what is mounted", rebuilt.adopted));
    }
    said.extend(
        rebuilt
            .dropped
            .iter()
            .map(|name| format!("snapshot {name} has lost its files or its parent, and is gone")),
    );
    said.extend(
        rebuilt
            .unknown
            .iter()
            .map(|path| format!("{} belonged to no snapshot, and was set aside", path.display())),
    );
    Ok(())
}

/// Containers that have a task and no record.
async fn take_tasks(
    config: &Config,
    store: &Store,
    tasks: Vec<Running>,
    said: &mut Vec<String>,
) -> Result<()> {
    let containers = Containers::new(store.clone(), Bus::new());
    for task in tasks {
        if containers.get(&task.namespace, &task.id).is_ok() {
            continue;
        }
        said.push(format!(
            "container {} of namespace {} has a task, and got a record",
            task.id, task.namespace
        ));
        let now = SystemTime::now();
        let container = Container {
            labels: Labels::new(),
            image: String::new(),
            runtime: config.runtime.default.clone(),
            runtime_options: None,
            spec: Some(Any { type_url: SPEC.to_owned(), value: task.spec }),
            snapshotter: task.mounted.as_ref().map(|_| "overlayfs".to_owned()).unwrap_or_default(),
            snapshot_key: task.mounted.map(|mounted| mounted.key).unwrap_or_default(),
            created_at: now,
            updated_at: now,
            extensions: Default::default(),
            sandbox: String::new(),
            id: task.id,
        };
        containers.create(&task.namespace, container).await?;
    }
    Ok(())
}

/// The old store goes aside under a name with the time, the new one takes its place. Should the power go between the two, the next
/// rebuild finds the copy.
fn put_in_place(root: &Path, building: &Path, said: &mut Vec<String>) -> Result<()> {
    let store = super::store(root);
    if store.exists() {
        let aside = aside(root)?;
        fs::rename(&store, &aside)
            .context(|| format!("rename {} to {}", store.display(), aside.display()))?;
        said.push(format!("the old store is in {}", aside.display()));
    }
    fs::rename(building, &store)
        .context(|| format!("rename {} to {}", building.display(), store.display()))?;
    File::open(root).and_then(|root| root.sync_all()).context(|| format!("fsync {}", root.display()))
}

fn aside(root: &Path) -> Result<PathBuf> {
    let format = format_description!("[year][month][day]T[hour][minute][second]Z");
    let time = OffsetDateTime::now_utc()
        .format(format)
        .map_err(|error| Error::with_source(errors::Kind::Internal, "write the time", error))?;
    let name = root.join(format!("metadata.damaged-{time}"));
    let taken = |path: &PathBuf| path.exists();
    let others = (1..).map(|number| root.join(format!("metadata.damaged-{time}.{number}")));
    Ok(std::iter::once(name).chain(others).find(|path| !taken(path)).unwrap_or_default())
}

fn remove_all(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
