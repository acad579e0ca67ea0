//! The exchange.

use std::sync::Arc;
use std::time::SystemTime;

use errors::{Context, Result};
use filters::Filters;
use ids::Namespace;
use prost_types::Any;
use tokio::sync::broadcast;

use crate::envelope::Envelope;
use crate::room::{Kept, Room};
use crate::subscription::Subscription;
use crate::topic;

/// How many events a subscriber may lag behind before it loses some: a container's life is eight.
pub(crate) const CAPACITY: usize = 8192;

/// The daemon's one event exchange. Cheap to clone.
#[derive(Clone)]
pub struct Bus {
    sender: broadcast::Sender<Arc<Kept>>,
    room: Room,
}

impl Bus {
    /// An exchange nobody listens to yet.
    pub fn new() -> Bus {
        Bus::with_capacity(CAPACITY)
    }

    pub(crate) fn with_capacity(capacity: usize) -> Bus {
        Bus { sender: broadcast::Sender::new(capacity), room: Room::default() }
    }

    /// Publishes `message`, now, under `topic`. Never blocks. A large one is let go, with a line in the log, while subscribers have not taken
    /// those before it.
    pub fn publish<M: prost::Message + prost::Name>(&self, namespace: &Namespace, topic: &str, message: &M) {
        debug_assert!(topic::check(topic).is_ok(), "{topic}");
        let sent = self.send(Envelope {
            timestamp: SystemTime::now(),
            namespace: namespace.clone(),
            topic: topic.to_owned(),
            event: proto_containerd::pack(message),
        });
        if let Err(error) = sent {
            tracing::warn!(%namespace, topic, error = %error.chain(), "an event is lost");
        }
    }

    /// Publishes what a client packed itself, now, under a topic that is checked. A large one is `ResourceExhausted` while subscribers have
    /// not taken those before it.
    pub fn publish_any(&self, namespace: &Namespace, topic: &str, event: Any) -> Result<()> {
        topic::check(topic).context(|| format!("envelope topic {topic:?}"))?;
        self.send(Envelope {
            timestamp: SystemTime::now(),
            namespace: namespace.clone(),
            topic: topic.to_owned(),
            event,
        })
    }

    /// Hands on an event that a shim or a client made; the topic and the time are checked. A large one is `ResourceExhausted` while
    /// subscribers have not taken those before it.
    pub fn forward(&self, envelope: Envelope) -> Result<()> {
        envelope.check()?;
        self.send(envelope)
    }

    /// Listens from now on to what `filters` let through.
    pub fn subscribe(&self, filters: Filters) -> Subscription {
        Subscription::new(self.sender.subscribe(), filters)
    }

    fn send(&self, envelope: Envelope) -> Result<()> {
        tracing::trace!(topic = envelope.topic, namespace = %envelope.namespace, "event");
        // Without a subscriber nobody misses it.
        let _ = self.sender.send(Arc::new(self.room.keep(envelope)?));
        Ok(())
    }
}

impl Default for Bus {
    fn default() -> Bus {
        Bus::new()
    }
}
