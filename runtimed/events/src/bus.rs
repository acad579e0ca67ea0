//! The exchange.

use std::sync::Arc;
use std::time::SystemTime;

use errors::{Context, Result};
use filters::Filters;
use ids::Namespace;
use prost_types::Any;
use tokio::sync::broadcast;

use crate::envelope::Envelope;
use crate::subscription::Subscription;
use crate::topic;

/// How many events a subscriber may lag behind before it loses some: a container's life is eight.
pub(crate) const CAPACITY: usize = 8192;

/// The daemon's one event exchange. Cheap to clone.
#[derive(Clone)]
pub struct Bus {
    sender: broadcast::Sender<Arc<Envelope>>,
}

impl Bus {
    /// An exchange nobody listens to yet.
    pub fn new() -> Bus {
        Bus::with_capacity(CAPACITY)
    }

    pub(crate) fn with_capacity(capacity: usize) -> Bus {
        Bus { sender: broadcast::Sender::new(capacity) }
    }

    /// Publishes `message`, now, under `topic`. Never blocks.
    pub fn publish<M: prost::Message + prost::Name>(&self, namespace: &Namespace, topic: &str, message: &M) {
        debug_assert!(topic::check(topic).is_ok(), "{topic}");
        self.send(Envelope {
            timestamp: SystemTime::now(),
            namespace: namespace.clone(),
            topic: topic.to_owned(),
            event: proto_containerd::pack(message),
        });
    }

    /// Publishes what a client packed itself, now, under a topic that is checked.
    pub fn publish_any(&self, namespace: &Namespace, topic: &str, event: Any) -> Result<()> {
        topic::check(topic).context(|| format!("envelope topic {topic:?}"))?;
        self.send(Envelope {
            timestamp: SystemTime::now(),
            namespace: namespace.clone(),
            topic: topic.to_owned(),
            event,
        });
        Ok(())
    }

    /// Hands on an event that a shim or a client made; the topic and the time are checked.
    pub fn forward(&self, envelope: Envelope) -> Result<()> {
        envelope.check()?;
        self.send(envelope);
        Ok(())
    }

    /// Listens from now on to what `filters` let through.
    pub fn subscribe(&self, filters: Filters) -> Subscription {
        Subscription::new(self.sender.subscribe(), filters)
    }

    fn send(&self, envelope: Envelope) {
        tracing::trace!(topic = envelope.topic, namespace = %envelope.namespace, "event");
        // Without a subscriber nobody misses it.
        let _ = self.sender.send(Arc::new(envelope));
    }
}

impl Default for Bus {
    fn default() -> Bus {
        Bus::new()
    }
}
