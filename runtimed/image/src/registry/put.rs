//! Gives a registry blobs and manifests (distribution-spec "Push").

use std::sync::Arc;

use bytes::Bytes;
use content::Blob;
use errors::{Error, Result};
use futures::stream::unfold;
use ids::Digest;
use reqwest::header::{CONTENT_TYPE, HeaderName, HeaderValue, LOCATION};
use reqwest::{Body, Method, Url};
use tokio::sync::Notify;

use super::client::Failure;
use super::endpoint::{Endpoint, Session};
use super::reach::Reach;
use crate::Descriptor;

/// How much is read and sent at once.
const CHUNK: usize = 256 << 10;

impl Session {
    /// Does the registry have the blob?
    pub(crate) async fn has_blob(&self, digest: &Digest) -> Result<bool> {
        let object = &digest.to_string();
        let asked = self.first(0, |_| true, |endpoint| endpoint.request(Method::HEAD, "blobs", object, &[]));
        match asked.await {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Uploads a blob whole; `open` is called once a try, and `sent` is told how far it is.
    pub(crate) async fn put_blob(
        &self,
        descriptor: &Descriptor,
        open: impl Fn() -> Result<Blob>,
        sent: impl Fn(u64) + Clone + Send + Sync + 'static,
    ) -> Result<()> {
        self.first(0, |_| true, |endpoint| put_at(endpoint, descriptor, &open, sent.clone())).await
    }

    /// Uploads a manifest or index under `object`, a tag or its digest.
    pub(crate) async fn put_manifest(
        &self,
        descriptor: &Descriptor,
        bytes: Bytes,
        object: &str,
    ) -> Result<()> {
        let kind = HeaderValue::try_from(&descriptor.media_type);
        let kind = kind.map_err(|_| Error::invalid(format!("media type {:?}", descriptor.media_type)))?;
        let fields = &[(CONTENT_TYPE, kind)];
        let bytes = &bytes;
        self.first(0, |_| true, |endpoint| put_document(endpoint, object, fields, bytes)).await
    }
}

async fn put_document(
    endpoint: &Endpoint,
    object: &str,
    fields: &[(HeaderName, HeaderValue)],
    bytes: &Bytes,
) -> Result<(), Failure> {
    endpoint.request_with(Method::PUT, "manifests", object, fields, bytes.clone()).await.map(drop)
}

async fn put_at(
    endpoint: &Endpoint,
    descriptor: &Descriptor,
    open: &impl Fn() -> Result<Blob>,
    sent: impl Fn(u64) + Send + Sync + 'static,
) -> Result<(), Failure> {
    let begun = endpoint.request(Method::POST, "blobs", "uploads/", &[]).await?;
    let location = begun.headers().get(LOCATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut url = place(begun.url(), location).map_err(Failure::final_)?;
    url.query_pairs_mut().append_pair("digest", &descriptor.digest.to_string());
    let length = descriptor.length().map_err(Failure::final_)?;
    let blob = open().map_err(Failure::final_)?;
    let moved = Arc::new(Notify::new());
    let told = moved.clone();
    let tell = move |offset| {
        told.notify_one();
        sent(offset);
    };
    let reach = Reach::of(&endpoint.host.base, begun.remote_addr());
    endpoint.upload(url, reach, length, body(blob, length, tell), &moved).await.map(drop)
}

/// Where the upload goes on: from https never to http.
fn place(from: &Url, location: &str) -> Result<Url> {
    let host = from.host_str().unwrap_or_default();
    // Where exactly stays out of the text: it may hold a signature.
    let refuse = || {
        let to =
            from.join(location).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default();
        Error::unavailable(format!(
            "registry {host}: it takes an upload at no usable place on the host {to:?}"
        ))
    };
    let url = from.join(location).map_err(|_| refuse())?;
    let downgraded = from.scheme() == "https" && url.scheme() == "http";
    let usable = !location.is_empty() && matches!(url.scheme(), "http" | "https") && !downgraded;
    if usable { Ok(url) } else { Err(refuse()) }
}

fn body(blob: Blob, length: u64, sent: impl Fn(u64) + Send + Sync + 'static) -> Body {
    let read = move |(blob, offset): (Blob, u64), told: &dyn Fn(u64)| {
        told(offset);
        async move {
            if offset >= length {
                return None;
            }
            let bytes =
                blob.read_at(offset, CHUNK).await.map_err(|error| std::io::Error::other(error.chain()));
            let next = offset + bytes.as_ref().map_or(length, |bytes| bytes.len() as u64);
            Some((bytes, (blob, next)))
        }
    };
    Body::wrap_stream(unfold((blob, 0), move |state| read(state, &sent)))
}
