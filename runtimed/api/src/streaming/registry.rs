//! Open streams by name, until the call that needs one takes it.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use errors::{Error, Kind, Result};
use futures::stream::{BoxStream, Stream, StreamExt};
use ids::Namespace;
use prost::Message;
use prost_types::Any;
use proto_containerd::pack;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

/// Streams that wait to be taken, at the most.
const MAX_WAITING: usize = 4096;
/// Messages to the client that wait to be sent.
const OUTGOING: usize = 16;

/// The streams of one daemon. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Streams {
    waiting: Arc<Mutex<Waiting>>,
}

#[derive(Default)]
struct Waiting {
    streams: HashMap<Key, (u64, Duplex)>,
    /// Tells a stream from a later one of the same name.
    next: u64,
}

type Key = (Namespace, String);

/// Both directions of a stream. The client sees the end when this is dropped.
pub(crate) struct Duplex {
    pub(crate) incoming: Incoming,
    pub(crate) outgoing: Outgoing,
}

/// What the client sends.
pub(crate) struct Incoming(Streaming<Any>);

/// What the client is sent.
#[derive(Clone)]
pub(crate) struct Outgoing(mpsc::Sender<Result<Any, Status>>);

/// What tonic sends the client; when the client has gone, its stream is forgotten.
struct Answers {
    messages: ReceiverStream<Result<Any, Status>>,
    streams: Streams,
    key: Key,
    number: u64,
}

impl Streams {
    /// Keeps a stream under its name, tells the client so, and returns what to answer the client with.
    pub(crate) fn register(
        &self,
        namespace: &Namespace,
        name: String,
        incoming: Streaming<Any>,
    ) -> Result<BoxStream<'static, Result<Any, Status>>> {
        let (sender, receiver) = mpsc::channel(OUTGOING);
        // Empty messages have a name, but no bytes.
        let registered = Any { type_url: "google.protobuf.Empty".to_owned(), value: Vec::new() };
        sender.try_send(Ok(registered)).map_err(|_| Error::internal("a new stream takes no message"))?;
        let duplex = Duplex { incoming: Incoming(incoming), outgoing: Outgoing(sender) };
        let key = (namespace.clone(), name);
        let number = self.insert(key.clone(), duplex)?;
        Ok(Answers { messages: ReceiverStream::new(receiver), streams: self.clone(), key, number }.boxed())
    }

    /// Hands the stream to the one call that uses it.
    pub(crate) fn take(&self, namespace: &Namespace, name: &str) -> Result<Duplex> {
        let taken = self.lock().streams.remove(&(namespace.clone(), name.to_owned()));
        taken.map(|(_, duplex)| duplex).ok_or_else(|| Error::not_found(format!("stream {name:?}: not found")))
    }

    fn insert(&self, key: Key, duplex: Duplex) -> Result<u64> {
        let mut waiting = self.lock();
        if waiting.streams.contains_key(&key) {
            return Err(Error::already_exists(format!("stream {:?}: already exists", key.1)));
        }
        if waiting.streams.len() >= MAX_WAITING {
            return Err(Error::new(
                Kind::ResourceExhausted,
                format!("{MAX_WAITING} streams are open and unused"),
            ));
        }
        let number = waiting.next;
        waiting.next += 1;
        waiting.streams.insert(key, (number, duplex));
        Ok(number)
    }

    fn forget(&self, key: &Key, number: u64) {
        let mut waiting = self.lock();
        if waiting.streams.get(key).is_some_and(|(found, _)| *found == number) {
            waiting.streams.remove(key);
        }
    }

    /// No invariant can be broken half way, so a panic elsewhere is no reason to stop.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Incoming {
    /// The next message, or `None` when the client has ended its side.
    pub(crate) async fn next(&mut self) -> Result<Option<Any>> {
        self.0.message().await.map_err(|status| {
            let kind = Kind::from_grpc_code(status.code() as i32);
            Error::with_source(kind, "read from a client's stream", status)
        })
    }

    /// Waits until the client has ended its side, one way or the other.
    pub(crate) async fn ended(&mut self) {
        while let Ok(Some(_)) = self.0.message().await {}
    }
}

impl Outgoing {
    /// Sends a message under its type's name; waits while the client is behind.
    pub(crate) async fn send<M: Message + prost::Name>(&self, message: &M) -> Result<()> {
        let sent = self.0.send(Ok(pack(message))).await;
        sent.map_err(|_| Error::new(Kind::Cancelled, "the client has closed its stream"))
    }
}

impl Stream for Answers {
    type Item = Result<Any, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.messages.poll_next_unpin(context)
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        self.streams.forget(&self.key, self.number);
    }
}
