//! A task's folder on disk, laid out as containerd does.
//!
//! ```text
//! <state>/io.containerd.runtime.v2.task/<namespace>/<id>/
//!     config.json        the container's spec
//!     rootfs/            where the shim mounts the root
//!     work               -> <root>/io.containerd.runtime.v2.task/<namespace>/<id>; our own shim has no use for it
//!     work/checkpoint    ours: what the task is restored from when it is started
//!     log                fifo: the shim writes its log, the daemon reads it
//!     shim-binary-path   the shim, pinned at creation: it also has to delete what it made
//!     bootstrap.json     how to reach the shim; shims up to containerd 1.7 write `address` themselves
//!     auto-remove        ours: the container is removed when it ends, and has no record any more once that was told
//!     reported.json      ours: the reported exit, and whether the shim is gone (exit.json is the shim's)
//! ```
//!
//! The shim adds its own files. Removal renames the folder to `.<id>` first, so that the id is free at once
//! and a half removed folder is never mistaken for a task. All calls here block for as long as the file
//! system does.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use errors::{Context, Error, Kind, Result, WithKind};
use ids::{ContainerId, Namespace};
use rustix::mount::UnmountFlags;
use serde::{Deserialize, Serialize};

use crate::types::{Config, Exit};

/// The folder of all bundles below `<state>`, and of all work folders below `<root>`.
const TASKS: &str = "io.containerd.runtime.v2.task";

/// Is there where the container goes with its end.
const AUTO_REMOVE: &str = "auto-remove";

/// In the work folder: what the task is restored from.
const CHECKPOINT: &str = "checkpoint";

/// Far more than any of our small files; whoever wrote more did not write it for us.
const SMALL: u64 = 64 << 10;

/// How often a folder is made anew that others remove meanwhile.
const TRIES: u32 = 100;

/// A bundle folder; it may not exist (any more).
#[derive(Debug, Clone)]
pub(crate) struct Bundle {
    path: PathBuf,
    work: PathBuf,
}

/// A bundle whose task is deleted.
#[derive(Debug, Clone)]
pub(crate) struct Hidden {
    path: PathBuf,
    bundle: Bundle,
}

/// How to reach a shim: `bootstrap.json`, as containerd 2.0 and later write it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bootstrap {
    /// The version of the task service.
    pub(crate) version: u32,
    /// `unix://...`.
    pub(crate) address: String,
    /// `ttrpc`, or `grpc`.
    pub(crate) protocol: String,
}

/// The exit of init, once it was reported or the shim that knew it is gone: `reported.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ended {
    pid: u32,
    status: u32,
    seconds: u64,
    nanos: u32,
    /// The shim is dead and has been cleaned after.
    pub(crate) lost: bool,
    /// The exit was published.
    pub(crate) reported: bool,
}

/// As much of a spec as decides about permissions.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Spec {
    linux: Option<Linux>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Linux {
    uid_mappings: Option<Vec<Mapping>>,
    gid_mappings: Option<Vec<Mapping>>,
}

#[derive(Deserialize)]
struct Mapping {
    #[serde(rename = "containerID")]
    container: u32,
    #[serde(rename = "hostID")]
    host: u32,
    size: u32,
}

/// The folders that hold one folder a namespace: of bundles, and of work.
pub(crate) fn homes(config: &Config) -> (PathBuf, PathBuf) {
    (config.state.join(TASKS), config.root.join(TASKS))
}

impl Bundle {
    /// The bundle of a task, wherever it stands.
    pub(crate) fn of(config: &Config, namespace: &Namespace, id: &ContainerId) -> Bundle {
        let (bundles, works) = homes(config);
        let at = |home: PathBuf| home.join(namespace.as_str()).join(id.as_str());
        Bundle { path: at(bundles), work: at(works) }
    }

    /// The folder.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The fifo for the shim's log.
    pub(crate) fn log(&self) -> PathBuf {
        self.path.join("log")
    }

    /// Makes the folder with all that a shim needs to start, in place of what is left of an earlier one; on
    /// failure nothing is left of it. The caller has made sure that no task has the id.
    ///
    /// # Errors
    /// `InvalidArgument` if `spec` is no JSON.
    pub(crate) fn create(&self, spec: &[u8], binary: &Path, auto_remove: bool) -> Result<()> {
        let group = remapped_group(spec)?;
        match make(&self.path, 0o700) {
            // The id is free, so this was left by a removal that failed.
            Err(error) if error.is_already_exists() => {
                self.remove()?;
                make(&self.path, 0o700)?;
            }
            other => other?,
        }
        let filled = self.fill(spec, binary, group).and_then(|()| match auto_remove {
            true => self.write(AUTO_REMOVE, b""),
            false => Ok(()),
        });
        if filled.is_err() {
            // The first error is the one that counts.
            let _ = self.remove();
        }
        filled
    }

    fn fill(&self, spec: &[u8], binary: &Path, group: Option<u32>) -> Result<()> {
        let _step = marks::step("task.bundle.fill")?;
        if let Some(group) = group {
            let shown = || format!("give {} to group {group}", self.path.display());
            std::os::unix::fs::chown(&self.path, None, Some(group)).context(shown)?;
            fs::set_permissions(&self.path, fs::Permissions::from_mode(0o710)).context(shown)?;
        }
        mkdir(&self.path.join("rootfs"), 0o711)?;
        let config = self.path.join("config.json");
        // The container's environment may hold secrets, and the group of a remapped root may come by.
        let opened = fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(&config);
        opened.and_then(|mut file| file.write_all(spec)).context(|| format!("write {}", config.display()))?;
        self.write("shim-binary-path", binary.as_os_str().as_encoded_bytes())?;
        let log = self.log();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &log,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .map_err(io::Error::from)
        .context(|| format!("mkfifo {}", log.display()))
    }

    /// Is the container removed when it ends?
    pub(crate) fn is_auto_removed(&self) -> bool {
        self.path.join(AUTO_REMOVE).exists()
    }

    /// Makes the work folder, where a shim keeps what is too large for `<state>`.
    pub(crate) fn create_work(&self) -> Result<()> {
        match make(&self.work, 0o711) {
            // Left by a task whose removal did not get this far.
            Err(error) if error.is_already_exists() => {
                remove_tree(&self.work)?;
                make(&self.work, 0o711)?;
            }
            other => other?,
        }
        let link = self.path.join("work");
        std::os::unix::fs::symlink(&self.work, &link).context(|| format!("symlink {}", link.display()))
    }

    /// Makes a folder the task's own: the images that its start restores. It is below the work folder.
    ///
    /// # Errors
    /// Whatever the file system says; the folder stays where it is then.
    pub(crate) fn take_checkpoint(&self, images: &Path) -> Result<PathBuf> {
        let own = self.work.join(CHECKPOINT);
        fs::rename(images, &own).context(|| format!("rename {} to {}", images.display(), own.display()))?;
        Ok(own)
    }

    /// Removes the images again; gone is fine.
    pub(crate) fn drop_checkpoint(&self) -> Result<()> {
        let own = self.work.join(CHECKPOINT);
        clear(&own).context(|| format!("remove {}", own.display()))
    }

    /// Writes down how to reach the shim.
    pub(crate) fn write_bootstrap(&self, bootstrap: &Bootstrap) -> Result<()> {
        let json = serde_json::to_vec(bootstrap).kind(Kind::Internal, || "encode bootstrap.json")?;
        self.write("bootstrap.json", &json)
    }

    /// How to reach the shim; `NotFound` if nobody wrote it down.
    pub(crate) fn read_bootstrap(&self) -> Result<Bootstrap> {
        match self.read("bootstrap.json") {
            Ok(json) => serde_json::from_slice(&json)
                .kind(Kind::DataLoss, || format!("parse bootstrap.json in {}", self.path.display())),
            Err(error) if error.is_not_found() => {
                let address = self.read("address")?;
                let address = String::from_utf8(address)
                    .kind(Kind::DataLoss, || format!("parse address in {}", self.path.display()))?;
                Ok(Bootstrap { version: 2, address, protocol: "ttrpc".to_owned() })
            }
            Err(error) => Err(error),
        }
    }

    /// The shim's binary.
    pub(crate) fn read_binary(&self) -> Result<PathBuf> {
        let name = self.read("shim-binary-path")?;
        let name = String::from_utf8(name)
            .kind(Kind::DataLoss, || format!("parse shim-binary-path in {}", self.path.display()))?;
        Ok(PathBuf::from(name))
    }

    /// Writes down init's exit.
    pub(crate) fn write_exit(&self, ended: &Ended) -> Result<()> {
        let json = serde_json::to_vec(ended).kind(Kind::Internal, || "encode reported.json")?;
        self.write("reported.json", &json)
    }

    /// Init's exit, if it was written down.
    pub(crate) fn read_exit(&self) -> Result<Option<Ended>> {
        match self.read("reported.json") {
            Ok(json) => serde_json::from_slice(&json)
                .map(Some)
                .kind(Kind::DataLoss, || format!("parse reported.json in {}", self.path.display())),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes the folder, its mounts and the work folder. Goes on past an error and reports the first. What
    /// is gone is fine.
    pub(crate) fn remove(&self) -> Result<()> {
        let _step = marks::step("task.bundle.remove")?;
        let bundle = self.remove_path();
        bundle.and(self.remove_rest())
    }

    /// The work folder, and folders of namespaces without tasks.
    fn remove_rest(&self) -> Result<()> {
        let work = remove_tree(&self.work);
        for folder in [&self.path, &self.work] {
            if let Some(parent) = folder.parent() {
                // Refuses while there is still a task in it.
                let _ = fs::remove_dir(parent);
            }
        }
        work
    }

    /// Takes the bundle's name away: from now on there is no such task, even for a daemon that is started anew. The folder lives on under
    /// the name that is returned, until [`Hidden::remove`].
    pub(crate) fn hide(&self) -> Result<Hidden> {
        let hidden = hidden(&self.path)?;
        clear(&hidden).context(|| format!("remove {}", hidden.display()))?;
        fs::rename(&self.path, &hidden).context(|| format!("hide {}", self.path.display()))?;
        Ok(Hidden { path: hidden, bundle: self.clone() })
    }

    /// What [`hide`](Bundle::hide) left of this bundle, if there is something.
    pub(crate) fn hidden(&self) -> Result<Option<Hidden>> {
        let path = hidden(&self.path)?;
        Ok(path.exists().then(|| Hidden { path, bundle: self.clone() }))
    }

    fn remove_path(&self) -> Result<()> {
        empty_rootfs(&self.path)?;
        remove_tree(&self.path)
    }

    /// Replaces a small file as a whole, so that a reader sees the old or the new one.
    fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.path.join(name);
        let draft = self.path.join(format!(".{name}"));
        let written = (|| {
            fs::File::create(&draft)?.write_all(bytes)?;
            fs::rename(&draft, &path)
        })();
        written.context(|| format!("write {}", path.display()))
    }

    fn read(&self, name: &str) -> Result<Vec<u8>> {
        let path = self.path.join(name);
        let shown = || format!("read {}", path.display());
        let mut bytes = Vec::new();
        let file = fs::File::open(&path).context(shown)?;
        io::Read::read_to_end(&mut io::Read::take(file, SMALL + 1), &mut bytes).context(shown)?;
        if bytes.len() as u64 > SMALL {
            return Err(Error::new(
                Kind::DataLoss,
                format!("{} is larger than {SMALL} bytes", path.display()),
            ));
        }
        Ok(bytes)
    }
}

impl Hidden {
    /// The folder, in which a shim may still work.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// How the shim was reached.
    pub(crate) fn read_bootstrap(&self) -> Result<Bootstrap> {
        Bundle { path: self.path.clone(), work: self.bundle.work.clone() }.read_bootstrap()
    }

    /// Removes the folder, its mounts and the work folder. What is gone is fine.
    pub(crate) fn remove(&self) -> Result<()> {
        let removed = discard(&self.path);
        removed.and(self.bundle.remove_rest())
    }
}

impl Ended {
    /// What is written down of `exit`.
    pub(crate) fn new(exit: Exit, lost: bool, reported: bool) -> Ended {
        let since = exit.at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Ended {
            pid: exit.pid,
            status: exit.status,
            seconds: since.as_secs(),
            nanos: since.subsec_nanos(),
            lost,
            reported,
        }
    }

    /// The exit again.
    pub(crate) fn exit(&self) -> Exit {
        let since = Duration::new(self.seconds, self.nanos.min(999_999_999));
        let at = SystemTime::UNIX_EPOCH.checked_add(since).unwrap_or(SystemTime::UNIX_EPOCH);
        Exit { pid: self.pid, status: self.status, at }
    }
}

/// Removes a folder that is ours by first renaming it to `.<name>`; gone is fine.
pub(crate) fn remove_tree(path: &Path) -> Result<()> {
    let shown = || format!("remove {}", path.display());
    let hidden = hidden(path)?;
    clear(&hidden).context(shown)?;
    match fs::rename(path, &hidden) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).context(shown),
        Ok(()) => {
            marks::passed("task.bundle.hidden");
            clear(&hidden).context(shown)
        }
    }
}

/// The name of a folder that is being removed: no id begins with a dot.
fn hidden(path: &Path) -> Result<PathBuf> {
    let name = path.file_name().ok_or_else(|| Error::internal(format!("hide {}", path.display())))?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    Ok(path.with_file_name(hidden))
}

/// Deletes the folder of a bundle whose removal was begun.
fn discard(path: &Path) -> Result<()> {
    empty_rootfs(path)?;
    clear(path).context(|| format!("remove {}", path.display()))
}

/// Removes the root's mounts and its mount point. Never recursively: whatever else is in there is not ours.
fn empty_rootfs(bundle: &Path) -> Result<()> {
    let rootfs = bundle.join("rootfs");
    unmount(&rootfs)?;
    match fs::remove_dir(&rootfs) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.context(|| format!("rmdir {}", rootfs.display())),
    }
}

/// Deletes a tree; gone is fine.
pub(crate) fn clear(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Detaches everything that is mounted on `path`, in however many layers.
fn unmount(path: &Path) -> Result<()> {
    use rustix::io::Errno;
    loop {
        match rustix::mount::unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            Ok(()) => {}
            // Not a mount point (umount(2)), or not there.
            Err(Errno::INVAL | Errno::NOENT) => return Ok(()),
            Err(error) => {
                return Err(io::Error::from(error)).context(|| format!("unmount {}", path.display()));
            }
        }
    }
}

/// The folders above all bundles, which anybody may pass through but nobody list.
fn folders(path: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o711)
        .create(path)
        .context(|| format!("mkdir {}", path.display()))
}

/// Makes a folder, and those above it. Whoever removes the last other bundle of the namespace removes the folder above, at any moment.
fn make(path: &Path, mode: u32) -> Result<()> {
    let mut tries = 0;
    loop {
        let made = path.parent().map_or(Ok(()), folders).and_then(|()| mkdir(path, mode));
        tries += 1;
        match made {
            Err(error) if error.is_not_found() && tries < TRIES => {}
            made => return made,
        }
    }
}

fn mkdir(path: &Path, mode: u32) -> Result<()> {
    fs::DirBuilder::new().mode(mode).create(path).context(|| format!("mkdir {}", path.display()))
}

/// The host's group for the container's group 0, if the spec remaps users: the container's root must reach
/// its rootfs.
pub(crate) fn remapped_group(spec: &[u8]) -> Result<Option<u32>> {
    let spec: Spec =
        serde_json::from_slice(spec).kind(Kind::InvalidArgument, || "parse the spec (config.json)")?;
    let Some(linux) = spec.linux else { return Ok(None) };
    if linux.uid_mappings.is_none_or(|mappings| mappings.is_empty()) {
        return Ok(None);
    }
    let groups = linux.gid_mappings.unwrap_or_default();
    Ok(groups.iter().find(|mapping| mapping.container == 0 && mapping.size > 0).map(|mapping| mapping.host))
}

#[cfg(test)]
mod tests;
