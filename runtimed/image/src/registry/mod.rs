//! Talks to registries (OCI distribution-spec, docker's token protocol, containerd's hosts.toml).

pub(crate) mod auth;
pub(crate) mod challenge;
mod client;
mod endpoint;
mod fetch;
pub(crate) mod hosts;
mod put;
mod reach;
mod resolve;
mod tls;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use errors::{Kind, Result, WithKind};
use ids::Reference;

use client::{Clients, Http};
use endpoint::Endpoint;
use hosts::{Host, hosts_for};

pub(crate) use endpoint::Session;
pub(crate) use fetch::BlobStream;
pub(crate) use hosts::Access;

/// How registries are reached. Zero means the default, wherever a number is asked for.
#[derive(Debug, Clone, Default)]
pub struct RegistryConfig {
    /// A folder of `HOST/hosts.toml`, as containerd's `config_path`.
    pub hosts_directory: Option<PathBuf>,
    /// The most bytes of a manifest or config that are read; 8 MiB.
    pub manifest_limit: u64,
    /// Layers fetched at once, in one pull; 3, as docker and containerd have it.
    pub concurrency: usize,
    /// How long a connection may take to come about; 30 s.
    pub connect_timeout: Duration,
    /// How long a registry may be silent in the middle of an answer; 60 s.
    pub idle_timeout: Duration,
    /// How often a request is tried that made no headway; 5.
    pub attempts: u32,
    /// What one layer may be at the most, once it is unpacked.
    pub layer: diff::Limits,
    /// Where snapshots of unknown sorts are mounted while a layer is applied; the system's folder for temporary files.
    pub scratch: Option<PathBuf>,
}

/// A user's name and secret for one registry; never logged.
#[derive(Clone, Default)]
pub struct Credentials {
    /// The user name; empty for an identity token.
    pub username: String,
    /// The password or token.
    pub secret: String,
}

impl RegistryConfig {
    /// The most bytes of a manifest or config that are read.
    pub(crate) fn manifest_limit(&self) -> u64 {
        if self.manifest_limit == 0 { 8 << 20 } else { self.manifest_limit }
    }

    /// Layers fetched at once.
    pub(crate) fn concurrency(&self) -> usize {
        if self.concurrency == 0 { 3 } else { self.concurrency }
    }

    fn connect_timeout(&self) -> Duration {
        if self.connect_timeout.is_zero() { Duration::from_secs(30) } else { self.connect_timeout }
    }

    fn idle_timeout(&self) -> Duration {
        if self.idle_timeout.is_zero() { Duration::from_secs(60) } else { self.idle_timeout }
    }

    fn attempts(&self) -> u32 {
        if self.attempts == 0 { 5 } else { self.attempts }
    }

    /// Where unknown mounts go.
    pub(crate) fn scratch(&self) -> PathBuf {
        self.scratch.clone().unwrap_or_else(std::env::temp_dir)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

/// How one caller comes to a registry.
#[derive(Default)]
pub(crate) struct Login {
    pub(crate) access: Access,
    pub(crate) credentials: Option<Credentials>,
    pub(crate) hosts_directory: Option<PathBuf>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) push: bool,
}

impl Login {
    /// What a token is asked for.
    fn actions(&self) -> &'static str {
        if self.push { "pull,push" } else { "pull" }
    }
}

/// The way to registries, for all pulls.
pub(crate) struct Registries {
    config: RegistryConfig,
    clients: Arc<Clients>,
}

impl Registries {
    pub(crate) fn new(config: RegistryConfig) -> Registries {
        Registries { clients: Arc::new(Clients::new(config.clone())), config }
    }

    /// Finds the hosts of the reference's registry. Credentials and header fields go to the registry itself alone.
    pub(crate) async fn session(&self, reference: &Reference, login: Login) -> Result<Session> {
        let directory = login.hosts_directory.clone().or_else(|| self.config.hosts_directory.clone());
        let (domain, clients) = (reference.domain().to_owned(), self.clients.clone());
        let (access, push) = (login.access, login.push);
        let found = tokio::task::spawn_blocking(move || {
            let mut hosts = hosts_for(directory.as_deref(), &domain, access)?;
            if push {
                // One place has it in the end: the first that takes it, as containerd does.
                hosts.retain(|host| host.push);
                hosts.truncate(1);
            }
            let with_client = |host: Host| Ok((clients.http(&host.base, &host.tls, push)?, host));
            hosts.into_iter().map(with_client).collect::<Result<Vec<(Http, Host)>>>()
        });
        let found = found.await.kind(Kind::Internal, || "find the registry's hosts")??;
        let endpoint = |(http, host)| Endpoint::new(http, host, reference, &login).map(Arc::new);
        Ok(Session {
            endpoints: found.into_iter().map(endpoint).collect::<Result<_>>()?,
            reference: reference.clone(),
            manifest_limit: self.config.manifest_limit(),
            attempts: self.config.attempts(),
        })
    }
}
