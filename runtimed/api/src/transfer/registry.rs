//! A registry as an end of a transfer.

use std::path::PathBuf;

use errors::{Error, Kind, Result};
use ids::Reference;
use image::Credentials;
use proto_containerd::types::transfer::{HttpDebug, OciRegistry};

use super::endpoint::unserved;
use super::{Job, auth};
use crate::streaming::Duplex;

/// What was asked of a registry.
pub(super) struct Remote {
    pub(super) reference: Reference,
    pub(super) plain_http: bool,
    /// A hosts folder instead of the daemon's own.
    pub(super) hosts_directory: Option<PathBuf>,
    pub(super) headers: Vec<(String, String)>,
    /// What clients are shown.
    pub(super) shown: String,
    /// Where to ask for credentials, once.
    auth: Option<Duplex>,
}

impl Remote {
    /// Checks what is asked, and takes the stream by which credentials come.
    pub(super) fn new(job: &Job<'_>, registry: OciRegistry) -> Result<Remote> {
        let reference = Reference::parse(&registry.reference)?;
        let resolver = registry.resolver.unwrap_or_default();
        unserved(resolver.http_debug() != HttpDebug::Disabled, "a trace of the registry's answers")?;
        let plain_http = match resolver.default_scheme.as_str() {
            "" | "https" => false,
            "http" => true,
            other => {
                return Err(Error::invalid(format!("default scheme {other:?} is neither http nor https")));
            }
        };
        let auth = match resolver.auth_stream.as_str() {
            "" => None,
            stream => Some(job.streams.take(&job.caller.namespace, stream)?),
        };
        Ok(Remote {
            reference,
            plain_http,
            hosts_directory: Some(resolver.host_dir).filter(|path| !path.is_empty()).map(PathBuf::from),
            headers: resolver.headers.into_iter().collect(),
            shown: format!("OCI Registry ({})", registry.reference),
            auth,
        })
    }

    /// Asks the client for credentials when the registry refused for want of them. Any other refusal stands, and so does this
    /// one when the client has none, or was asked before.
    pub(super) async fn credentials_after(&mut self, refused: Error) -> Result<Credentials> {
        if !matches!(refused.kind(), Kind::Unauthenticated | Kind::PermissionDenied) {
            return Err(refused);
        }
        let Some(mut stream) = self.auth.take() else { return Err(refused) };
        auth::ask(&mut stream, &self.reference).await?.ok_or(refused)
    }
}
