//! The daemon's configuration: a TOML file, over it the command line. `default.toml` documents every key.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

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
    /// Runtime name to shim.
    pub shims: BTreeMap<String, PathBuf>,
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
}

/// `[layer]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Layer {
    /// Bytes.
    pub max_bytes: u64,
    /// Entries.
    pub max_entries: u64,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            root: "/var/lib/runtimed".into(),
            state: "/run/runtimed".into(),
            grpc: Grpc::default(),
            log: Log::default(),
            runtime: Runtime::default(),
            container: Container::default(),
            registry: Registry::default(),
            layer: Layer::default(),
        }
    }
}

impl Default for Grpc {
    fn default() -> Grpc {
        Grpc { address: "/run/runtimed/runtimed.sock".into(), uid: 0, gid: 0 }
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
        Runtime { default: name, shim_timeout: 5, shims }
    }
}

impl Default for Container {
    fn default() -> Container {
        Container {
            snapshotter: "overlayfs".to_owned(),
            seccomp: true,
            log_max_size: 20 << 20,
            log_max_files: 5,
        }
    }
}

impl Default for Registry {
    fn default() -> Registry {
        Registry { config_path: PathBuf::new(), manifest_limit: 8 << 20, concurrency: 3 }
    }
}

impl Default for Layer {
    fn default() -> Layer {
        Layer { max_bytes: 1 << 40, max_entries: 20_000_000 }
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
        if self.runtime.shim_timeout == 0 {
            return Err(Error::invalid("runtime.shim_timeout must be at least 1 second"));
        }
        if self.container.log_max_size < 4096 || self.container.log_max_files == 0 {
            return Err(Error::invalid(
                "container.log_max_size must be at least 4096 bytes and container.log_max_files at least 1",
            ));
        }
        if self.registry.concurrency == 0 {
            return Err(Error::invalid("registry.concurrency must be at least 1"));
        }
        Ok(())
    }
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
        ] {
            let error = Config::parse(text).unwrap_err();
            assert!(error.chain().contains(named), "{text}: {}", error.chain());
        }
    }
}
