//! A blob as a stream that survives broken connections: it goes on with `Range` where it stopped.

use std::sync::Arc;

use bytes::Bytes;
use errors::{Error, Result};
use ids::Digest;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, HeaderValue, RANGE};
use reqwest::{Method, Response, StatusCode};

use super::client::Failure;
use super::endpoint::{Endpoint, Session, pause};
use crate::Descriptor;

/// How often one blob's connection may break in all, however much came in between.
const MAX_BREAKS: u32 = 64;

/// A blob on its way: exactly as many bytes as the descriptor says, or an error. Their digest is the reader's affair.
pub(crate) struct BlobStream {
    session: Arc<Session>,
    digest: Digest,
    total: u64,
    offset: u64,
    current: Option<Answer>,
    /// Breaks since the last byte that came.
    fruitless: u32,
    breaks: u32,
}

struct Answer {
    response: Response,
    endpoint: Arc<Endpoint>,
    /// Bytes to leave out: the server began at the beginning.
    skip: u64,
}

impl BlobStream {
    /// The blob from `offset` on.
    pub(crate) fn new(session: Arc<Session>, descriptor: &Descriptor, offset: u64) -> Result<BlobStream> {
        let total = descriptor.length()?;
        let digest = descriptor.digest.clone();
        Ok(BlobStream { session, digest, total, offset, current: None, fruitless: 0, breaks: 0 })
    }

    /// The next bytes; `None` when all have come.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            if self.offset >= self.total {
                return self.expect_end().await;
            }
            if self.current.is_none() {
                self.current = Some(self.open().await?);
            }
            let Some(answer) = &mut self.current else { continue };
            match answer.response.chunk().await {
                Ok(Some(chunk)) => {
                    if let Some(bytes) = answer.wanted(chunk) {
                        return self.took(bytes).map(Some);
                    }
                }
                Ok(None) => {
                    let host = answer.endpoint.name();
                    let error = self.too_short(&host);
                    self.broke(error).await?;
                }
                Err(error) => {
                    let error = answer.endpoint.broken(error).error;
                    self.broke(error).await?;
                }
            }
        }
    }

    fn took(&mut self, bytes: Bytes) -> Result<Bytes> {
        self.offset += bytes.len() as u64;
        self.fruitless = 0;
        if self.offset > self.total {
            return Err(self.too_long());
        }
        Ok(bytes)
    }

    /// All has come: the server must have nothing more.
    async fn expect_end(&mut self) -> Result<Option<Bytes>> {
        let Some(mut answer) = self.current.take() else { return Ok(None) };
        match answer.response.chunk().await {
            Ok(Some(more)) if !more.is_empty() => Err(self.too_long()),
            _ => Ok(None),
        }
    }

    fn too_long(&self) -> Error {
        Error::precondition(format!(
            "registry {}: blob {} is longer than the {} bytes of its descriptor",
            self.session.reference.domain(),
            self.digest,
            self.total
        ))
    }

    /// Ended as if all were there. No lie, as far as one can tell: a proxy ends so what was cut off behind it.
    fn too_short(&self, host: &str) -> Error {
        Error::unavailable(format!(
            "registry {host}: blob {} ended after {} of {} bytes",
            self.digest, self.offset, self.total
        ))
    }

    async fn broke(&mut self, error: Error) -> Result<()> {
        self.current = None;
        self.fruitless += 1;
        self.breaks += 1;
        if self.fruitless >= self.session.attempts || self.breaks >= MAX_BREAKS {
            let text =
                format!("fetch blob {}: gave up after {} of {} bytes", self.digest, self.offset, self.total);
            return Err(Error::with_source(error.kind(), text, error));
        }
        tracing::debug!(digest = %self.digest, offset = self.offset, "blob interrupted: {}", error.chain());
        tokio::time::sleep(pause(self.fruitless - 1)).await;
        Ok(())
    }

    /// An answer that gives the blob from the current offset on; after a break without headway from another host first.
    async fn open(&self) -> Result<Answer> {
        self.session
            .first(self.fruitless as usize, |endpoint| endpoint.host.pull, |endpoint| self.open_at(endpoint))
            .await
    }

    /// What `endpoint` answers; one that cannot go on in the middle is asked for the whole.
    async fn open_at(&self, endpoint: &Arc<Endpoint>) -> Result<Answer, Failure> {
        match self.ask(endpoint, self.offset).await {
            Err(failure) if self.offset > 0 && is_of_range(&failure) => {
                tracing::debug!(digest = %self.digest, "asked for the whole: {}", failure.error.chain());
                self.ask(endpoint, 0).await
            }
            answer => answer,
        }
    }

    /// Asks `endpoint` for the bytes from `from` on, which is where this stream is, or the beginning.
    async fn ask(&self, endpoint: &Arc<Endpoint>, from: u64) -> Result<Answer, Failure> {
        let mut fields = vec![(ACCEPT_ENCODING, HeaderValue::from_static("identity"))];
        if from > 0 {
            let range = HeaderValue::try_from(format!("bytes={from}-"));
            fields.extend(range.ok().map(|range| (RANGE, range)));
        }
        let response = endpoint.request(Method::GET, "blobs", &self.digest.to_string(), &fields).await?;
        let begins = match response.status() {
            StatusCode::PARTIAL_CONTENT => range_start(&response).unwrap_or(from),
            _ => 0,
        };
        let unusable = |error| Failure { status: Some(response.status()), ..Failure::final_(error) };
        if begins > self.offset {
            let text = format!(
                "registry {}: blob {} from {from} on was asked for, it came from {begins} on",
                endpoint.name(),
                self.digest
            );
            return Err(unusable(Error::unavailable(text)));
        }
        self.check_length(endpoint, &response, begins).map_err(unusable)?;
        Ok(Answer { response, endpoint: endpoint.clone(), skip: self.offset - begins })
    }

    /// A stated length that cannot be right is refused before anything is read.
    fn check_length(&self, endpoint: &Endpoint, response: &Response, begins: u64) -> Result<()> {
        let length = response.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
        let Some(length) = length.and_then(|text| text.parse::<u64>().ok()) else { return Ok(()) };
        if begins.checked_add(length) == Some(self.total) {
            return Ok(());
        }
        Err(Error::precondition(format!(
            "registry {}: blob {} is {} bytes there, its descriptor says {}",
            endpoint.name(),
            self.digest,
            begins.saturating_add(length),
            self.total
        )))
    }
}

impl Answer {
    /// What of `chunk` is wanted.
    fn wanted(&mut self, mut chunk: Bytes) -> Option<Bytes> {
        let skipped = self.skip.min(chunk.len() as u64);
        self.skip -= skipped;
        let bytes = chunk.split_off(skipped as usize);
        (!bytes.is_empty()).then_some(bytes)
    }
}

/// Is it the range that failed, so that the whole may come all the same?
fn is_of_range(failure: &Failure) -> bool {
    matches!(failure.status, Some(StatusCode::RANGE_NOT_SATISFIABLE | StatusCode::PARTIAL_CONTENT))
}

/// The first position of `Content-Range: bytes FIRST-LAST/TOTAL`.
fn range_start(response: &Response) -> Option<u64> {
    let text = response.headers().get(CONTENT_RANGE)?.to_str().ok()?;
    text.strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok()
}
