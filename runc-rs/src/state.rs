//! What is kept of a container between two commands: ROOT/ID/state.json, exec.fifo and a copy of its config.json.
//!
//! The keys of state.json are runc's, since other programs read them. It is replaced whole (written beside, then
//! renamed), so a reader never sees half of it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use oci::runtime::Spec;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::cgroup;
use crate::error::{Context, Error, Result};
use crate::plan::mounts::IdMap;
use crate::process;

const STATE_FILE: &str = "state.json";
const SPEC_FILE: &str = "config.json";

/// Contents of state.json.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct State {
    /// The container's id.
    pub id: String,
    /// Process id of init, 0 while there is none.
    pub init_process_pid: i32,
    /// Start time of init in clock ticks since boot (proc_pid_stat(5), field 22): tells a reused process id.
    pub init_process_start: u64,
    /// RFC 3339, UTC.
    pub created: String,
    /// The part of the configuration that later commands and other programs look at.
    pub config: Config,
    /// Whether it was made without root's rights.
    pub rootless: bool,
    /// Controller name to directory; `""` on cgroup v2.
    pub cgroup_paths: BTreeMap<String, PathBuf>,
    /// `NEWNET` and so on to the namespace's file.
    pub namespace_paths: BTreeMap<String, String>,
    /// Where init's standard streams lead.
    pub external_descriptors: Vec<String>,
    /// Resource control group; empty for none.
    #[serde(default)]
    pub intel_rdt_path: String,
    /// Monitoring group in it; empty for none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub intel_rdt_mon_path: String,
    /// Those of the two that were made for this container, and go with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub intel_rdt_made: Vec<PathBuf>,
}

/// `config` of state.json.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Config {
    /// Absolute path of the root file system on the host.
    pub rootfs: PathBuf,
    /// `key=value` annotations, with `bundle=PATH` last.
    pub labels: Vec<String>,
    /// The mounts asked for.
    #[serde(default)]
    pub mounts: Vec<MountEntry>,
    /// The namespaces asked for.
    #[serde(default)]
    pub namespaces: Vec<NamespaceEntry>,
    /// The release of the specification that the state complies with (runtime.md, "State"), whichever config.json names.
    pub version: String,
    /// Whether exec joins a new session keyring.
    #[serde(default)]
    pub no_new_keyring: bool,
    /// Host name in the container.
    #[serde(default)]
    pub hostname: String,
    /// NIS domain name in the container.
    #[serde(default)]
    pub domainname: String,
    /// Whether the root is read-only.
    #[serde(default)]
    pub readonlyfs: bool,
    /// Mappings of a new user namespace.
    #[serde(default)]
    pub uid_mappings: Vec<IdMap>,
    /// Mappings of a new user namespace.
    #[serde(default)]
    pub gid_mappings: Vec<IdMap>,
    /// Paths that are hidden.
    #[serde(default)]
    pub mask_paths: Vec<String>,
    /// Paths that are read-only.
    #[serde(default)]
    pub readonly_paths: Vec<String>,
    /// Kernel parameters.
    #[serde(default)]
    pub sysctl: BTreeMap<String, String>,
    /// Whether exec may not give rights.
    #[serde(default)]
    pub no_new_privileges: bool,
    /// AppArmor profile.
    #[serde(default)]
    pub apparmor_profile: String,
    /// SELinux label of processes.
    #[serde(default)]
    pub process_label: String,
    /// SELinux label of mounts.
    #[serde(default)]
    pub mount_label: String,
    /// Whether it was made by another user than root.
    #[serde(default)]
    pub rootless_euid: bool,
    /// The unit of the systemd driver.
    #[serde(default)]
    pub cgroups: cgroup::Unit,
}

/// A mount, as state.json tells it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MountEntry {
    /// Source.
    pub source: String,
    /// Destination in the container.
    pub destination: String,
    /// File system type.
    pub device: String,
}

/// A namespace, as state.json tells it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NamespaceEntry {
    /// `NEWNET` and so on.
    #[serde(rename = "type")]
    pub kind: String,
    /// The file of a namespace that was joined; empty for a new one.
    pub path: String,
}

/// Status of a container, by runtime-spec, runtime.md "State".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Init waits for `start`.
    Created,
    /// The program runs.
    Running,
    /// Its cgroup is frozen.
    Paused,
    /// It has ended.
    Stopped,
}

impl Status {
    /// The word that `state` and `list` print.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        }
    }
}

/// A container's state directory, and what state.json in it says.
#[derive(Debug)]
pub struct Container {
    /// ROOT/ID.
    pub dir: PathBuf,
    /// What state.json says.
    pub state: State,
}

impl Container {
    /// Reads the state of `id`; [`Error::NotExist`] when there is none.
    pub fn load(root: &Path, id: &str) -> Result<Self> {
        validate_id(id)?;
        let dir = root.join(id);
        let text = match fs::read(dir.join(STATE_FILE)) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(Error::NotExist),
            Err(e) => return Err(e).with_context(|| format!("read {}", dir.join(STATE_FILE).display())),
        };
        let state = serde_json::from_slice(&text)
            .map_err(|e| Error::new(format!("parse {}: {e}", dir.join(STATE_FILE).display())))?;
        Ok(Container { dir, state })
    }

    /// Makes the state directory of a new container; [`Error::AlreadyExists`] when there is one.
    pub fn reserve(root: &Path, id: &str) -> Result<PathBuf> {
        validate_id(id)?;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o1700)
            .create(root)
            .with_context(|| format!("mkdir {}", root.display()))?;
        let dir = root.join(id);
        match fs::DirBuilder::new().mode(0o711).create(&dir) {
            Ok(()) => Ok(dir),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Err(Error::AlreadyExists),
            Err(e) => Err(e).with_context(|| format!("mkdir {}", dir.display())),
        }
    }

    /// Replaces state.json.
    pub fn save(&self) -> Result<()> {
        self.write_down()?.publish()
    }

    /// Writes state.json beside the old one, which stays until it is [published](Written::publish).
    pub fn write_down(&self) -> Result<Written> {
        let text = serde_json::to_vec(&self.state).map_err(|e| Error::new(e.to_string()))?;
        write_beside(&self.dir, STATE_FILE, &text)
    }

    /// Keeps a copy of config.json: the bundle may change or go, the container does not.
    pub fn save_spec(dir: &Path, text: &[u8]) -> Result<()> {
        write_whole(dir, SPEC_FILE, text)
    }

    /// The config.json that the container was created with.
    pub fn spec(&self) -> Result<Spec> {
        crate::spec::load_again(&self.dir.join(SPEC_FILE))
    }

    /// The bundle's directory.
    pub fn bundle(&self) -> &str {
        self.state.config.labels.iter().rev().find_map(|l| l.strip_prefix("bundle=")).unwrap_or_default()
    }

    /// The annotations, without the bundle.
    pub fn annotations(&self) -> BTreeMap<&str, &str> {
        let pairs = self.state.config.labels.iter().filter_map(|l| l.split_once('='));
        pairs.filter(|(key, _)| *key != "bundle").collect()
    }

    /// The container's cgroup.
    pub fn cgroup(&self) -> Result<Box<dyn cgroup::Manager>> {
        Ok(cgroup::load(&self.state.cgroup_paths, &self.state.config.cgroups)?)
    }

    /// Whether init is the process that was started, and has not ended.
    pub fn alive(&self) -> bool {
        process::alive(self.state.init_process_pid, self.state.init_process_start)
    }

    /// Where in its life the container is.
    pub fn status(&self) -> Result<Status> {
        if !self.alive() {
            return Ok(Status::Stopped);
        }
        if self.cgroup().and_then(|c| Ok(c.frozen()?)).unwrap_or(false) {
            return Ok(Status::Paused);
        }
        let waiting = self.dir.join(start_gate::NAME).symlink_metadata().is_ok();
        Ok(if waiting { Status::Created } else { Status::Running })
    }

    /// An exclusive lock on the state directory, for a change that two commands must not make at once.
    pub fn lock(&self) -> Result<Flock<fs::File>> {
        let dir = fs::File::open(&self.dir).with_context(|| format!("open {}", self.dir.display()))?;
        Flock::lock(dir, FlockArg::LockExclusive)
            .map_err(|(_, e)| Error::call(format_args!("flock {}", self.dir.display()), e))
    }
}

/// Now, as `created` tells it.
pub fn now() -> String {
    OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default()
}

/// Checks that an id can be a directory's name and nothing else.
pub fn validate_id(id: &str) -> Result<()> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "_+-.".contains(c);
    if id.is_empty() || id == "." || id == ".." || id.len() > 255 || !id.chars().all(legal) {
        return Err(Error::InvalidId);
    }
    Ok(())
}

/// Removes a state directory and everything in it; no error when it is gone.
pub fn remove(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(e).with_context(|| format!("remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}

/// A file that is to take the place of another.
#[derive(Debug)]
pub struct Written {
    temporary: PathBuf,
    path: PathBuf,
}

impl Written {
    /// From now on it is there.
    pub fn publish(self) -> Result<()> {
        fs::rename(&self.temporary, &self.path).with_context(|| format!("write {}", self.path.display()))
    }
}

fn write_whole(dir: &Path, name: &str, text: &[u8]) -> Result<()> {
    write_beside(dir, name, text)?.publish()
}

fn write_beside(dir: &Path, name: &str, text: &[u8]) -> Result<Written> {
    let temporary = dir.join(format!(".{name}.{}", std::process::id()));
    let path = dir.join(name);
    let write = || -> io::Result<()> {
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(text)
    };
    write().with_context(|| format!("write {}", path.display()))?;
    Ok(Written { temporary, path })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids() {
        for id in ["a", "A-b_c.d+1", "0"] {
            assert!(validate_id(id).is_ok(), "{id}");
        }
        for id in ["", ".", "..", "a/b", "a b", "ä", "a\0"] {
            assert!(matches!(validate_id(id), Err(Error::InvalidId)), "{id}");
        }
    }

    #[test]
    fn state_comes_back_as_saved() {
        let root = tempfile::tempdir().unwrap();
        let dir = Container::reserve(root.path(), "c1").unwrap();
        assert!(matches!(Container::reserve(root.path(), "c1"), Err(Error::AlreadyExists)));
        assert!(matches!(Container::load(root.path(), "c1"), Err(Error::NotExist)));
        let state = State {
            id: "c1".into(),
            init_process_pid: 0,
            init_process_start: 0,
            created: now(),
            config: Config { labels: vec!["a=b".into(), "bundle=/b".into()], ..Config::default() },
            rootless: false,
            cgroup_paths: BTreeMap::new(),
            namespace_paths: BTreeMap::new(),
            external_descriptors: Vec::new(),
            intel_rdt_path: String::new(),
            intel_rdt_mon_path: String::new(),
            intel_rdt_made: Vec::new(),
        };
        Container { dir, state }.save().unwrap();
        let loaded = Container::load(root.path(), "c1").unwrap();
        assert_eq!(loaded.bundle(), "/b");
        assert_eq!(loaded.annotations(), BTreeMap::from([("a", "b")]));
        assert!(!loaded.alive());
    }
}
