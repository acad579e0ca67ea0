//! The rooms, put together from the configuration.

use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use errors::{Context, Result};
use flows::{Flows, Rooms, Settings};
use image::{Images, Names, RegistryConfig};
use nix::fcntl::{Flock, FlockArg};

use crate::config::Config;
use crate::listen::ttrpc_path;

/// How long a lock that is held may still be let go, and how often to look: flock(2) tells nobody.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);
const LOCK_RETRY: Duration = Duration::from_millis(5);

/// A daemon's rooms and flows, and the lock on its root folder.
pub struct House {
    /// The rooms.
    pub rooms: Rooms,
    /// The flows.
    pub flows: Flows,
    /// Made once for the root folder.
    pub uuid: String,
    /// Held as long as the daemon lives.
    _lock: Flock<std::fs::File>,
}

/// Opens everything, finds what runs, and takes up where an earlier daemon stopped.
pub async fn open(config: &Config) -> Result<House> {
    private_folder(&config.root, 0o711)?;
    private_folder(&config.state, 0o711)?;
    let lock = lock(&config.root).await?;
    let uuid = uuid(&config.root)?;
    let scratch = scratch(&config.root)?;
    let store = crate::upkeep::open(&config.root)?;
    let events = events::Bus::new();
    let content = content::Content::open(&config.root, store.clone(), events.clone())?;
    let snapshotters = snapshot::Snapshotters::open(&config.root, store.clone(), events.clone())?;
    let names = Names::new(store.clone(), events.clone());
    let containers = container::Containers::new(store.clone(), events.clone());
    let leases = lease::Leases::new(store.clone());
    let images =
        Images::new(registry(config, &scratch), names.clone(), content.clone(), snapshotters.clone());
    let tasks = task::Tasks::open(shims(config), events.clone()).await?;
    let heap = flows::gc::RoomsHeap::new(
        store.clone(),
        content.clone(),
        snapshotters.clone(),
        names.clone(),
        containers.clone(),
        leases.clone(),
    );
    let rooms = Rooms {
        namespaces: namespace::Namespaces::new(store.clone(), events.clone()),
        containers,
        content,
        snapshotters,
        names,
        images,
        leases,
        tasks,
        collector: gc::Collector::start(Arc::new(heap)),
        scratch,
        layer_limits: config.layer.limits(),
        store,
        events,
    };
    let flows = Flows::new(rooms.clone(), settings(config, mount_points(&rooms))?);
    flows.recover().await.context(|| "take up what an earlier daemon left")?;
    Ok(House { rooms, flows, uuid, _lock: lock })
}

/// A layer below those of all roots; without it, and where roots are no overlays, each container makes what it needs.
fn mount_points(rooms: &Rooms) -> Option<PathBuf> {
    let overlay = rooms.snapshotters.get("overlayfs").ok()?;
    match flows::mount_points::make(&overlay.folder().join(flows::mount_points::NAME)) {
        Ok(layer) => Some(layer),
        Err(error) => {
            tracing::warn!(error = %error.chain(), "every container has to make its mount points");
            None
        }
    }
}

fn settings(config: &Config, mount_points: Option<PathBuf>) -> Result<Settings> {
    Ok(Settings {
        root: config.root.join("engine"),
        state: config.state.join("engine"),
        runtime: config.runtime.default.clone(),
        snapshotter: config.container.snapshotter.clone(),
        log_max_size: config.container.log_max_size,
        log_max_files: config.container.log_max_files,
        capabilities: crate::capabilities::own()?,
        seccomp: config.container.seccomp,
        mount_points,
    })
}

fn registry(config: &Config, scratch: &Path) -> RegistryConfig {
    let path = &config.registry.config_path;
    RegistryConfig {
        hosts_directory: (!path.as_os_str().is_empty()).then(|| path.clone()),
        manifest_limit: config.registry.manifest_limit,
        concurrency: config.registry.concurrency,
        connect_timeout: Duration::from_secs(config.registry.connect_timeout),
        idle_timeout: Duration::from_secs(config.registry.idle_timeout),
        attempts: config.registry.attempts,
        layer: config.layer.limits(),
        scratch: Some(scratch.to_owned()),
    }
}

fn shims(config: &Config) -> task::Config {
    task::Config {
        state: config.state.clone(),
        root: config.root.clone(),
        address: config.grpc.address.clone(),
        ttrpc_address: ttrpc_path(&config.grpc.address),
        binary: std::env::current_exe().unwrap_or_else(|_| PathBuf::from("runtimed")),
        runtimes: config.runtime.shims.clone(),
        shim_timeout: Duration::from_secs(config.runtime.shim_timeout),
        timeouts: config.timeouts.limits(),
        debug: matches!(config.log.level.as_str(), "debug" | "trace"),
        standby: config.runtime.standby,
    }
}

/// One daemon a root folder: two would each sweep away what the other makes. A child that a killed daemon had forked holds the lock
/// until it execs, so a refusal counts only once it lasts.
pub async fn lock(root: &Path) -> Result<Flock<std::fs::File>> {
    let path = root.join("lock");
    let mut file = std::fs::File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .context(|| format!("open {}", path.display()))?;
    // Whoever may open it may hold it (flock(2)), and keep the daemon from starting.
    file.set_permissions(std::fs::Permissions::from_mode(0o600))
        .context(|| format!("chmod 600 {}", path.display()))?;
    let deadline = tokio::time::Instant::now() + LOCK_PATIENCE;
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((back, nix::Error::EWOULDBLOCK)) if tokio::time::Instant::now() < deadline => {
                file = back;
                tokio::time::sleep(LOCK_RETRY).await;
            }
            Err((_, error)) => {
                return Err(errors::Error::with_source(
                    errors::Kind::Unavailable,
                    format!("another daemon uses the root folder {}", root.display()),
                    error,
                ));
            }
        }
    }
}

fn uuid(root: &Path) -> Result<String> {
    let path = root.join("uuid");
    match std::fs::read_to_string(&path) {
        Ok(text) if uuid::Uuid::parse_str(text.trim()).is_ok() => return Ok(text.trim().to_owned()),
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).context(|| format!("read {}", path.display()));
        }
        _ => {}
    }
    let made = uuid::Uuid::new_v4().to_string();
    std::fs::write(&path, &made).context(|| format!("write {}", path.display()))?;
    Ok(made)
}

/// Temporary mounts of an earlier daemon are taken down, and what a flow of it had not finished is removed; nothing of them is needed.
fn scratch(root: &Path) -> Result<PathBuf> {
    let path = root.join("tmpmounts");
    private_folder(&path, 0o700)?;
    snapshot::TemporaryMount::sweep(&path)?;
    let device = device(&path)?;
    for entry in std::fs::read_dir(&path).context(|| format!("list {}", path.display()))?.flatten() {
        // Below something that is mounted lies what is somebody's: it is never removed.
        if self::device(&entry.path())? == device {
            remove(&entry.path()).context(|| format!("remove {}", entry.path().display()))?;
        }
    }
    Ok(path)
}

fn device(path: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt;
    std::fs::symlink_metadata(path)
        .map(|metadata| metadata.dev())
        .context(|| format!("stat {}", path.display()))
}

fn remove(path: &Path) -> std::io::Result<()> {
    if std::fs::symlink_metadata(path)?.is_dir() {
        std::fs::remove_dir_all(path)
    } else {
        std::fs::remove_file(path)
    }
}

fn private_folder(path: &Path, mode: u32) -> Result<()> {
    std::fs::create_dir_all(path).context(|| format!("create {}", path.display()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        .context(|| format!("chmod {mode:o} {}", path.display()))
}
