//! The daemon's configuration: a TOML file, over it the command line. `default.toml` documents every key.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use errors::{Context, Error, Kind, Result, WithKind};
use serde::{Deserialize, Serialize};

/// The documented defaults.
pub const DEFAULT: &str = include_str!("default.toml");
/// Where the file is looked for when the command line names none.
pub const DEFAULT_PATH: &str = "/etc/runtimed/config.toml";
/// The most bytes of a configuration file.
const LIMIT: u64 = 1 << 20;

/// Everything that can be configured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Durable files.
    pub root: PathBuf,
    /// Files that may vanish with a reboot.
    pub state: PathBuf,
    /// The clients' socket.
    pub grpc: Grpc,
    /// The daemon's log.
    pub log: Log,
    /// Shims.
    pub runtime: Runtime,
    /// How long shims and executors may take.
    pub timeouts: Timeouts,
    /// Containers of the engine's API.
    pub container: Container,
    /// Registries.
    pub registry: Registry,
    /// Limits on layers.
    pub layer: Layer,
}

/// `[grpc]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Grpc {
    /// The socket.
    pub address: PathBuf,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Clients at once; 0: what the limit of open files has room for.
    pub max_connections: usize,
    /// Calls at once on one connection.
    pub max_calls: u32,
    /// Seconds that a client may take to say that it speaks HTTP/2.
    pub greeting_timeout: u64,
}

/// `[log]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// containerd's level names.
    pub level: String,
    /// `text` or `json`.
    pub format: String,
}

/// `[runtime]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Runtime {
    /// The runtime of those who ask for none.
    pub default: String,
    /// Seconds.
    pub shim_timeout: u64,
    /// A shim stands by for the next container, and an executor for the deletion of one that has ended.
    pub standby: bool,
    /// Runtime name to shim.
    pub shims: BTreeMap<String, PathBuf>,
}

/// `[timeouts]`, in seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// A shim's answer on how a process is.
    pub shim_state: u64,
    /// Any other short call to a shim.
    pub shim_call: u64,
    /// A call that creates, starts or deletes.
    pub shim_long_call: u64,
    /// A shim's leave.
    pub shim_shutdown: u64,
    /// The command that cleans after a dead shim.
    pub shim_cleanup: u64,
    /// One run of an executor.
    pub executor: u64,
}

/// `[container]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Container {
    /// The snapshotter of those who ask for none.
    pub snapshotter: String,
    /// The default seccomp profile is applied.
    pub seccomp: bool,
    /// Bytes.
    pub log_max_size: u64,
    /// Files.
    pub log_max_files: u32,
    /// Seconds.
    pub restart_interval: u64,
}

/// `[registry]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Registry {
    /// A folder of `HOST/hosts.toml`; empty: none.
    pub config_path: PathBuf,
    /// Bytes.
    pub manifest_limit: u64,
    /// Blobs at once.
    pub concurrency: usize,
    /// Seconds.
    pub connect_timeout: u64,
    /// Seconds.
    pub idle_timeout: u64,
    /// How often a request is tried that makes no headway.
    pub attempts: u32,
}

/// `[layer]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Layer {
    /// Bytes.
    pub max_bytes: u64,
    /// Entries.
    pub max_entries: u64,
    /// Bytes.
    pub max_name: usize,
    /// Bytes.
    pub max_headers: u64,
    /// Bytes.
    pub max_zstd_window: u64,
    /// Device nodes.
    pub devices: Devices,
    /// Files that lend their owner's rights.
    pub setuid: Setuid,
}

/// `layer.devices`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Devices {
    /// They are made.
    Allow,
    /// The layer is refused.
    Refuse,
}

/// `layer.setuid`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Setuid {
    /// They are made as they are.
    Allow,
    /// They are made without.
    Strip,
    /// The layer is refused.
    Refuse,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            root: "/var/lib/runtimed".into(),
            state: "/run/runtimed".into(),
            grpc: Grpc::default(),
            log: Log::default(),
            runtime: Runtime::default(),
            timeouts: Timeouts::default(),
            container: Container::default(),
            registry: Registry::default(),
            layer: Layer::default(),
        }
    }
}

impl Default for Grpc {
    fn default() -> Grpc {
        Grpc {
            address: "/run/runtimed/runtimed.sock".into(),
            uid: 0,
            gid: 0,
            max_connections: 0,
            max_calls: 16_384,
            greeting_timeout: 10,
        }
    }
}

impl Default for Log {
    fn default() -> Log {
        Log { level: "info".to_owned(), format: "text".to_owned() }
    }
}

impl Default for Runtime {
    fn default() -> Runtime {
        let name = "io.containerd.runc.v2".to_owned();
        let shims = [(name.clone(), "containerd-shim-runtimed-v2".into())].into();
        Runtime { default: name, shim_timeout: 5, standby: true, shims }
    }
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        let task::Timeouts { state, call, long_call, shutdown, cleanup, executor } =
            task::Timeouts::default();
        Timeouts {
            shim_state: state.as_secs(),
            shim_call: call.as_secs(),
            shim_long_call: long_call.as_secs(),
            shim_shutdown: shutdown.as_secs(),
            shim_cleanup: cleanup.as_secs(),
            executor: executor.as_secs(),
        }
    }
}

impl Default for Container {
    fn default() -> Container {
        Container {
            snapshotter: "overlayfs".to_owned(),
            seccomp: true,
            log_max_size: 20 << 20,
            log_max_files: 5,
            restart_interval: 10,
        }
    }
}

impl Default for Registry {
    fn default() -> Registry {
        Registry {
            config_path: PathBuf::new(),
            manifest_limit: 8 << 20,
            concurrency: 3,
            connect_timeout: 30,
            idle_timeout: 60,
            attempts: 5,
        }
    }
}

impl Default for Layer {
    fn default() -> Layer {
        let diff::Limits { bytes, entries, name, headers, window, .. } = diff::Limits::DEFAULT;
        Layer {
            max_bytes: bytes,
            max_entries: entries,
            max_name: name,
            max_headers: headers,
            max_zstd_window: window,
            devices: Devices::Allow,
            setuid: Setuid::Allow,
        }
    }
}

impl Config {
    /// Reads `path`; without one the default path, which may be missing.
    pub fn load(path: Option<&Path>) -> Result<Config> {
        let (file, optional) = match path {
            Some(path) => (path, false),
            None => (Path::new(DEFAULT_PATH), true),
        };
        let text = match read(file) {
            Err(error) if error.is_not_found() && optional => return Ok(Config::default()),
            text => text?,
        };
        Config::parse(&text).context(|| format!("configuration {}", file.display()))
    }

    /// Parses and checks a configuration; an error names the key.
    pub fn parse(text: &str) -> Result<Config> {
        let config: Config = toml::from_str(text).kind(Kind::InvalidArgument, || "not valid")?;
        config.check()?;
        Ok(config)
    }

    /// Refuses values that cannot work.
    pub fn check(&self) -> Result<()> {
        for (key, path) in
            [("root", &self.root), ("state", &self.state), ("grpc.address", &self.grpc.address)]
        {
            if !path.is_absolute() {
                return Err(Error::invalid(format!(
                    "{key} must be an absolute path, not {:?}",
                    path.display()
                )));
            }
        }
        if self.root == self.state {
            return Err(Error::invalid("root and state must not be the same folder"));
        }
        if !["text", "json"].contains(&self.log.format.as_str()) {
            return Err(Error::invalid(format!(
                "log.format must be text or json, not {:?}",
                self.log.format
            )));
        }
        telemetry::Level::parse(&self.log.level)
            .map_err(|text| Error::invalid(format!("log.level: {text}")))?;
        if self.grpc.max_calls == 0 || self.grpc.greeting_timeout == 0 {
            return Err(Error::invalid("grpc.max_calls and grpc.greeting_timeout must be at least 1"));
        }
        if self.runtime.shim_timeout == 0 {
            return Err(Error::invalid("runtime.shim_timeout must be at least 1 second"));
        }
        if self.container.log_max_size < 4096 || self.container.log_max_files == 0 {
            return Err(Error::invalid(
                "container.log_max_size must be at least 4096 bytes and container.log_max_files at least 1",
            ));
        }
        if self.container.restart_interval == 0 {
            return Err(Error::invalid("container.restart_interval must be at least 1 second"));
        }
        self.timeouts.check()?;
        self.registry.check()?;
        self.layer.check()
    }
}

impl Timeouts {
    fn check(&self) -> Result<()> {
        const DAY: u64 = 24 * 60 * 60;
        between("timeouts.shim_state", self.shim_state, 1, DAY)?;
        between("timeouts.shim_call", self.shim_call, 1, DAY)?;
        between("timeouts.shim_long_call", self.shim_long_call, 1, DAY)?;
        between("timeouts.shim_shutdown", self.shim_shutdown, 1, DAY)?;
        between("timeouts.shim_cleanup", self.shim_cleanup, 1, DAY)?;
        between("timeouts.executor", self.executor, 0, DAY)
    }

    /// The same, as the tasks know it.
    pub fn limits(&self) -> task::Timeouts {
        let seconds = Duration::from_secs;
        task::Timeouts {
            state: seconds(self.shim_state),
            call: seconds(self.shim_call),
            long_call: seconds(self.shim_long_call),
            shutdown: seconds(self.shim_shutdown),
            cleanup: seconds(self.shim_cleanup),
            executor: seconds(self.executor),
        }
    }
}

impl Registry {
    fn check(&self) -> Result<()> {
        let path = &self.config_path;
        if !path.as_os_str().is_empty() && !path.is_absolute() {
            return Err(Error::invalid(format!(
                "registry.config_path must be an absolute path, not {:?}",
                path.display()
            )));
        }
        // A manifest is held in memory whole, and parsed into more of it.
        between("registry.manifest_limit", self.manifest_limit, 4096, 64 << 20)?;
        between("registry.concurrency", self.concurrency as u64, 1, 64)?;
        between("registry.connect_timeout", self.connect_timeout, 1, 3600)?;
        between("registry.idle_timeout", self.idle_timeout, 1, 3600)?;
        between("registry.attempts", self.attempts.into(), 1, 100)
    }
}

impl Layer {
    fn check(&self) -> Result<()> {
        between("layer.max_bytes", self.max_bytes, 1, u64::MAX)?;
        between("layer.max_entries", self.max_entries, 1, u64::MAX)?;
        // No call takes a name longer than PATH_MAX.
        between("layer.max_name", self.max_name as u64, 1, 4096)?;
        between("layer.max_headers", self.max_headers, 1024, 64 << 20)?;
        // 8 MiB is what every decoder is asked to support (RFC 8878).
        between("layer.max_zstd_window", self.max_zstd_window, 8 << 20, 2 << 30)
    }

    /// The same, as those who unpack layers know it.
    pub fn limits(&self) -> diff::Limits {
        diff::Limits {
            bytes: self.max_bytes,
            entries: self.max_entries,
            name: self.max_name,
            headers: self.max_headers,
            window: self.max_zstd_window,
            devices: match self.devices {
                Devices::Allow => diff::Devices::Allow,
                Devices::Refuse => diff::Devices::Refuse,
            },
            setuid: match self.setuid {
                Setuid::Allow => diff::Setuid::Allow,
                Setuid::Strip => diff::Setuid::Strip,
                Setuid::Refuse => diff::Setuid::Refuse,
            },
        }
    }
}

fn between(key: &str, value: u64, least: u64, most: u64) -> Result<()> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    let range = match most {
        u64::MAX => format!("at least {least}"),
        most => format!("between {least} and {most}"),
    };
    Err(Error::invalid(format!("{key} must be {range}, not {value}")))
}

fn read(path: &Path) -> Result<String> {
    let file = std::fs::File::open(path).context(|| format!("open {}", path.display()))?;
    let mut text = String::new();
    let length =
        file.take(LIMIT + 1).read_to_string(&mut text).context(|| format!("read {}", path.display()))?;
    if length as u64 > LIMIT {
        return Err(Error::invalid(format!("{} is larger than {LIMIT} bytes", path.display())));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_defaults_are_the_defaults() {
        assert_eq!(Config::parse(DEFAULT).unwrap(), Config::default());
    }

    #[test]
    fn wrong_keys_and_values_are_named() {
        for (text, named) in [
            ("rooot = \"/x\"", "rooot"),
            ("root = \"x\"", "root"),
            ("[log]\nlevel = \"loud\"", "log.level"),
            ("[runtime]\nshim_timeout = 0", "shim_timeout"),
            ("[grpc]\nuid = -1", "uid"),
            (
                "[registry]\nmanifest_limit = 0",
                "registry.manifest_limit must be between 4096 and 67108864, not 0",
            ),
            ("[registry]\nmanifest_limit = 1000000000", "registry.manifest_limit"),
            ("[registry]\nconcurrency = 0", "registry.concurrency"),
            ("[timeouts]\nshim_call = 0", "timeouts.shim_call must be between 1 and 86400, not 0"),
            ("[timeouts]\nexecutor = -1", "executor"),
            ("[registry]\nidle_timeout = 0", "registry.idle_timeout"),
            ("[registry]\nattempts = 0", "registry.attempts"),
            ("[registry]\nconfig_path = \"certs.d\"", "registry.config_path"),
            ("[layer]\nmax_bytes = 0", "layer.max_bytes must be at least 1, not 0"),
            ("[layer]\nmax_entries = 0", "layer.max_entries"),
            ("[layer]\nmax_name = 5000", "layer.max_name"),
            ("[layer]\nmax_headers = 10", "layer.max_headers"),
            ("[layer]\nmax_zstd_window = 1024", "layer.max_zstd_window"),
            ("[layer]\ndevices = \"strip\"", "strip"),
            ("[layer]\nsetuid = \"maybe\"", "maybe"),
        ] {
            let error = Config::parse(text).unwrap_err();
            assert!(error.chain().contains(named), "{text}: {}", error.chain());
        }
    }
}
