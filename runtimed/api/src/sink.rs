//! A blob that blocking code writes: from `std::io::Write` to an ingest.

use std::io::{self, Write};

use bytes::BytesMut;
use content::{Content, Info, Writer};
use errors::{Error, Result};
use flows::Rooms;
use ids::{Labels, Namespace};
use lease::Leases;
use tokio::runtime::Handle;

use crate::caller::Caller;

/// Bytes gathered before they are handed on.
const CHUNK: usize = 1 << 20;

/// An open ingest with its lease. Write from a thread that may block; open and commit from an async task.
pub(crate) struct Sink {
    content: Content,
    leases: Leases,
    caller: Caller,
    reference: String,
    writer: Writer,
    runtime: Handle,
    offset: u64,
    buffer: BytesMut,
}

impl Sink {
    /// Opens the ingest `reference`, and starts it anew if it exists.
    pub(crate) async fn open(rooms: &Rooms, caller: &Caller, reference: &str) -> Result<Sink> {
        caller.hold(&rooms.leases, "ingests", reference).await?;
        let writer = rooms.content.writer(&caller.namespace, reference, 0, None).await?;
        Ok(Sink {
            content: rooms.content.clone(),
            leases: rooms.leases.clone(),
            caller: caller.clone(),
            reference: reference.to_owned(),
            writer,
            runtime: Handle::current(),
            offset: 0,
            buffer: BytesMut::new(),
        })
    }

    /// Makes a blob of what was written; one that exists is as good.
    pub(crate) async fn commit(mut self, labels: Labels) -> Result<Info> {
        self.hand_on().await?;
        let digest = self.writer.digest().await?;
        let namespace: &Namespace = &self.caller.namespace;
        self.caller.hold(&self.leases, "content", digest.to_string()).await?;
        let committed = self.writer.commit(self.offset, Some(&digest), labels).await;
        let info = match committed {
            Err(error) if error.is_already_exists() => self.content.info(namespace, &digest)?,
            other => other?,
        };
        self.caller.release(&self.leases, "ingests", &self.reference).await?;
        Ok(info)
    }

    /// Gives up. A failure here only leaves an ingest to the garbage collection.
    pub(crate) async fn abort(self) {
        drop(self.writer);
        let aborted = self.content.abort(&self.caller.namespace, &self.reference).await;
        if let Err(error) = aborted {
            tracing::warn!(reference = self.reference, error = %error.chain(), "could not abort an ingest");
        }
    }

    /// The first write is at 0, which starts the ingest anew even when there is nothing to write.
    async fn hand_on(&mut self) -> Result<()> {
        let bytes = self.buffer.split().freeze();
        if bytes.is_empty() && self.offset == self.writer.status().offset {
            return Ok(());
        }
        let length = bytes.len() as u64;
        self.writer.write(self.offset, bytes).await?;
        self.offset += length;
        Ok(())
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let runtime = self.runtime.clone();
        runtime.block_on(self.hand_on()).map_err(|error: Error| io::Error::other(error))
    }
}

/// A name for an ingest that nobody else has.
pub(crate) fn unique_reference(purpose: &str) -> String {
    format!("{purpose}-{}", uuid::Uuid::new_v4())
}
