//! From a tag or digest to a descriptor, and from that to the document (distribution-spec "Pulling manifests").

use bytes::Bytes;
use errors::{Error, Kind, Result};
use ids::{Algorithm, Digest};
use reqwest::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};
use reqwest::{Method, Response};
use sha2::{Digest as _, Sha256, Sha512};

use super::client::{Failure, read_bounded};
use super::endpoint::{Endpoint, Session};
use crate::Descriptor;
use crate::descriptor::media_type;

/// What manifests may come as.
const MANIFESTS: &str = "application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.oci.image.index.v1+json, */*";

/// The registry's name for what a manifest hashes to.
const DOCKER_CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

impl Session {
    /// What the reference points to; with the document, if it had to be fetched to know.
    pub(crate) async fn resolve(&self) -> Result<(Descriptor, Option<Bytes>)> {
        let resolved =
            self.first(0, |endpoint| endpoint.host.resolve, |endpoint| self.resolve_at(endpoint)).await;
        let (descriptor, bytes) = resolved.map_err(|error| {
            let kind = error.kind();
            let text = match kind {
                Kind::NotFound => {
                    format!("failed to resolve reference \"{0}\": {0}: not found", self.reference)
                }
                _ => format!("failed to resolve reference \"{}\"", self.reference),
            };
            match kind {
                Kind::NotFound => Error::not_found(text),
                kind => Error::with_source(kind, text, error),
            }
        })?;
        check_type(&descriptor)?;
        Ok((descriptor, bytes))
    }

    async fn resolve_at(&self, endpoint: &Endpoint) -> Result<(Descriptor, Option<Bytes>), Failure> {
        let object = self.reference.object();
        let fields = [(ACCEPT, HeaderValue::from_static(MANIFESTS))];
        match endpoint.request(Method::HEAD, "manifests", &object, &fields).await {
            Ok(response) => {
                if let Some(descriptor) = described(&response) {
                    self.expect(&descriptor.digest).map_err(Failure::final_)?;
                    return Ok((descriptor, None));
                }
            }
            // Some registries refuse HEAD, and some answer it with a bare status: GET says more.
            Err(failure) if failure.transient || failure.error.is_not_found() => return Err(failure),
            Err(failure) if failure.error.kind() == Kind::Unauthenticated => return Err(failure),
            Err(_) => {}
        }
        let (bytes, kind) = self.get(endpoint, "manifests", &object, self.manifest_limit).await?;
        let digest = match self.reference.digest() {
            Some(digest) => digest.clone(),
            None => Digest::from_sha256(Sha256::digest(&bytes).into()),
        };
        verify(&bytes, &digest).map_err(Failure::final_)?;
        Ok((Descriptor::new(kind, digest, bytes.len() as u64), Some(bytes)))
    }

    fn expect(&self, digest: &Digest) -> Result<()> {
        match self.reference.digest() {
            Some(wanted) if wanted != digest => Err(Error::precondition(format!(
                "registry {}: asked for {wanted}, got {digest}",
                self.reference.domain()
            ))),
            _ => Ok(()),
        }
    }

    /// A manifest, index or config: whole, no larger than the limit, and exactly what the descriptor says.
    pub(crate) async fn small(&self, descriptor: &Descriptor) -> Result<Bytes> {
        let size = descriptor.length()?;
        if size > self.manifest_limit {
            let text = format!(
                "{} is {size} bytes, more than {} are not read",
                descriptor.digest, self.manifest_limit
            );
            return Err(Error::new(Kind::ResourceExhausted, text));
        }
        self.first(0, |endpoint| endpoint.host.pull, |endpoint| self.small_at(endpoint, descriptor, size))
            .await
    }

    async fn small_at(
        &self,
        endpoint: &Endpoint,
        descriptor: &Descriptor,
        size: u64,
    ) -> Result<Bytes, Failure> {
        let manifest = descriptor.is_index() || descriptor.is_manifest();
        let sort = if manifest { "manifests" } else { "blobs" };
        let (bytes, _) = self.get(endpoint, sort, &descriptor.digest.to_string(), size).await?;
        verify_size(&bytes, descriptor, &endpoint.name()).map_err(Failure::final_)?;
        verify(&bytes, &descriptor.digest).map_err(Failure::final_)?;
        Ok(bytes)
    }

    /// A document and its media type.
    async fn get(
        &self,
        endpoint: &Endpoint,
        sort: &str,
        object: &str,
        limit: u64,
    ) -> Result<(Bytes, String), Failure> {
        let accept = if sort == "manifests" { MANIFESTS } else { "*/*" };
        let fields = [
            (ACCEPT, HeaderValue::from_static(accept)),
            (ACCEPT_ENCODING, HeaderValue::from_static("identity")),
        ];
        let response = endpoint.request(Method::GET, sort, object, &fields).await?;
        let kind = content_type(&response);
        let bytes = read_bounded(response, limit, &endpoint.name()).await.map_err(|error| {
            let transient = error.kind() == Kind::Unavailable;
            Failure { transient, ..Failure::final_(error) }
        })?;
        Ok((bytes, kind))
    }
}

/// The descriptor in an answer's head, if it has all of it.
fn described(response: &Response) -> Option<Descriptor> {
    let text = |name: &HeaderName| response.headers().get(name)?.to_str().ok();
    let digest = Digest::parse(text(&DOCKER_CONTENT_DIGEST)?).ok()?;
    let size: u64 = text(&CONTENT_LENGTH)?.parse().ok()?;
    let kind = content_type(response);
    (size > 0 && !kind.is_empty()).then(|| Descriptor::new(kind, digest, size))
}

/// The media type, without parameters such as a charset.
fn content_type(response: &Response) -> String {
    let value =
        response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_owned()
}

fn check_type(descriptor: &Descriptor) -> Result<()> {
    if media_type::is_schema1(&descriptor.media_type) {
        return Err(Error::precondition(format!(
            "docker schema 1 manifests are not supported: {} is {}; push the image again with a current tool",
            descriptor.digest, descriptor.media_type
        )));
    }
    if descriptor.is_index() || descriptor.is_manifest() {
        return Ok(());
    }
    Err(crate::images::not_an_image(descriptor))
}

fn verify_size(bytes: &[u8], descriptor: &Descriptor, host: &str) -> Result<()> {
    if bytes.len() as u64 == descriptor.length()? {
        return Ok(());
    }
    Err(Error::precondition(format!(
        "registry {host}: {} is {} bytes, its descriptor says {}",
        descriptor.digest,
        bytes.len(),
        descriptor.size
    )))
}

/// Do the bytes hash to `digest`?
pub(crate) fn verify(bytes: &[u8], digest: &Digest) -> Result<()> {
    let hash = match digest.algorithm() {
        Algorithm::Sha256 => hex::encode(Sha256::digest(bytes)),
        Algorithm::Sha512 => hex::encode(Sha512::digest(bytes)),
    };
    if hash == digest.hex() {
        return Ok(());
    }
    let found = format!("{}:{hash}", digest.algorithm().as_str());
    Err(Error::precondition(format!("unexpected digest {found}, expected {digest}")))
}
