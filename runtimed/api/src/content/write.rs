//! One stream of `Write`: opens an ingest, appends to it, commits it.
//!
//! Every request gets one response, and the stream ends with the commit or the first error. What was written stays for a
//! later stream unless the blob turns out to exist.

use content::Writer;
use errors::{Error, Kind, Result};
use futures::stream::{self, BoxStream, StreamExt};
use ids::Digest;
use proto_containerd::services::content::{WriteAction, WriteContentRequest, WriteContentResponse};
use tonic::{Status, Streaming};

use super::ContentService;
use crate::caller::Caller;
use crate::convert::{optional_digest, signed, timestamp, unsigned};
use crate::status::{invalid, refuse};

/// The state between two requests.
pub(super) struct Session {
    service: ContentService,
    caller: Caller,
    requests: Streaming<WriteContentRequest>,
    /// The request that opened the stream, until it is answered.
    first: Option<WriteContentRequest>,
    reference: String,
    total: u64,
    expected: Option<Digest>,
    /// The blob that the caller's lease holds already.
    held: Option<Digest>,
    /// None after a commit.
    writer: Option<Writer>,
}

impl Session {
    /// Reads the first request and opens the ingest it names.
    pub(super) async fn open(
        service: &ContentService,
        caller: Caller,
        mut requests: Streaming<WriteContentRequest>,
    ) -> Result<Session, Status> {
        let first = requests
            .message()
            .await?
            .ok_or_else(|| invalid("write stream ended before its first message"))?;
        if first.r#ref.is_empty() {
            return Err(invalid("first message must have a reference"));
        }
        let reference = first.r#ref.clone();
        let total = unsigned(first.total, "total").map_err(refuse)?;
        let expected = optional_digest(&first.expected).map_err(refuse)?;
        caller.hold(&service.leases, "ingests", &reference).await.map_err(refuse)?;
        if let Some(digest) = &expected {
            // It may turn out to exist; then it is this that the caller must not lose.
            caller.hold(&service.leases, "content", digest.to_string()).await.map_err(refuse)?;
        }
        let writer = service
            .content
            .writer(&caller.namespace, &reference, total, expected.clone())
            .await
            .map_err(refuse)?;
        Ok(Session {
            service: service.clone(),
            caller,
            requests,
            first: Some(first),
            reference,
            total,
            held: expected.clone(),
            expected,
            writer: Some(writer),
        })
    }

    /// Answers requests until the commit, the client's end or an error.
    pub(super) fn into_stream(self) -> BoxStream<'static, Result<WriteContentResponse, Status>> {
        stream::try_unfold(self, |mut session| async move {
            if session.writer.is_none() {
                return Ok(None);
            }
            let request = match session.first.take() {
                Some(first) => Some(first),
                None => session.requests.message().await?,
            };
            let Some(request) = request else { return Ok(None) };
            let response = session.answer(request).await.map_err(refuse)?;
            Ok(Some((response, session)))
        })
        .boxed()
    }

    async fn answer(&mut self, request: WriteContentRequest) -> Result<WriteContentResponse> {
        let action = WriteAction::try_from(request.action)
            .map_err(|_| Error::invalid(format!("write action {} is unknown", request.action)))?;
        self.expect(&request).await?;
        match action {
            WriteAction::Stat => {}
            WriteAction::Write => self.append(request).await?,
            WriteAction::Commit => {
                let labels = request.labels.clone();
                self.append(request).await?;
                return self.commit(labels).await;
            }
        }
        self.response(action).await
    }

    /// Takes up what the request says of the whole; the ingest is pointless when the blob exists.
    async fn expect(&mut self, request: &WriteContentRequest) -> Result<()> {
        if request.total > 0 {
            self.total = unsigned(request.total, "total")?;
        }
        let Some(expected) = optional_digest(&request.expected)? else { return Ok(()) };
        self.hold(&expected).await?;
        if self.service.content.info(&self.caller.namespace, &expected).is_ok() {
            self.writer = None;
            self.service.content.abort(&self.caller.namespace, &self.reference).await?;
            self.caller.release(&self.service.leases, "ingests", &self.reference).await?;
            return Err(Error::already_exists(format!("blob with expected digest {expected} exists")));
        }
        self.expected = Some(expected);
        Ok(())
    }

    /// Puts the blob under the caller's lease, once.
    async fn hold(&mut self, digest: &Digest) -> Result<()> {
        if self.held.as_ref() != Some(digest) {
            self.caller.hold(&self.service.leases, "content", digest.to_string()).await?;
            self.held = Some(digest.clone());
        }
        Ok(())
    }

    async fn append(&mut self, request: WriteContentRequest) -> Result<()> {
        let writer = self.writer.as_mut().ok_or_else(closed)?;
        let offset = unsigned(request.offset, "offset")?;
        let current = writer.status().offset;
        if offset > 0 && offset != current {
            let message = format!("write @{offset} must occur at current offset {current}");
            return Err(Error::new(Kind::OutOfRange, message));
        }
        // An empty write at 0 still starts anew.
        if request.data.is_empty() && offset == current {
            return Ok(());
        }
        writer.write(offset, request.data).await
    }

    async fn commit(&mut self, labels: ids::Labels) -> Result<WriteContentResponse> {
        let mut writer = self.writer.take().ok_or_else(closed)?;
        let status = writer.status();
        let digest = match &self.expected {
            Some(digest) => digest.clone(),
            None => writer.digest().await?,
        };
        self.hold(&digest).await?;
        let committed = writer.commit(self.total, self.expected.as_ref(), labels).await;
        if committed.as_ref().err().is_none_or(Error::is_already_exists) {
            self.caller.release(&self.service.leases, "ingests", &self.reference).await?;
        }
        let info = committed?;
        Ok(WriteContentResponse {
            action: WriteAction::Commit.into(),
            started_at: timestamp(status.started_at),
            updated_at: timestamp(info.updated_at),
            offset: signed(info.size),
            total: signed(info.size),
            digest: info.digest.to_string(),
        })
    }

    async fn response(&mut self, action: WriteAction) -> Result<WriteContentResponse> {
        let writer = self.writer.as_mut().ok_or_else(closed)?;
        let digest = writer.digest().await?;
        let status = writer.status();
        Ok(WriteContentResponse {
            action: action.into(),
            started_at: timestamp(status.started_at),
            updated_at: timestamp(status.updated_at),
            offset: signed(status.offset),
            total: signed(self.total),
            digest: digest.to_string(),
        })
    }
}

fn closed() -> Error {
    Error::precondition("the ingest is closed")
}
