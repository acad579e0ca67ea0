//! Sends events to the daemon, in order, over its ttrpc socket.
//!
//! Publishing never waits and never fails: events queue up while the daemon is away and are sent when it is
//! back. The queue is bounded; what is oldest goes first, since a daemon that has been away that long asks
//! for the state anyway.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use proto_shim::events_ttrpc::{Envelope, EventsClient, ForwardRequest};
use proto_shim::{MessageField, TypeUrl, pack};
use tokio::net::UnixStream;
use tokio::sync::Notify;
use ttrpc::r#async::Client;
use ttrpc::asynchronous::transport::Socket;

use crate::sync::lock;
use crate::{clock, log};

/// Events kept while the daemon is away: days of a busy pod's execs.
const CAPACITY: usize = 4096;
/// How often the daemon may refuse an event before it is dropped.
const ATTEMPTS: u32 = 5;
/// How long one call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// The pauses between attempts grow from the first to the second.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// The sending end. Clones share the queue.
#[derive(Clone)]
pub(crate) struct Publisher {
    queue: Arc<Queue>,
    namespace: String,
}

struct Queue {
    events: Mutex<Events>,
    changed: Notify,
}

#[derive(Default)]
struct Events {
    waiting: VecDeque<Envelope>,
    sending: bool,
}

enum Failure {
    /// The daemon answered, and did not take it.
    Refused(String),
    /// The daemon did not answer.
    Away(String),
}

impl Publisher {
    pub(crate) fn new(namespace: &str) -> Publisher {
        let queue = Queue { events: Mutex::default(), changed: Notify::new() };
        Publisher { queue: Arc::new(queue), namespace: namespace.to_owned() }
    }

    /// Queues an event under the present time.
    pub(crate) fn publish(&self, topic: &str, event: &impl TypeUrl) {
        let any = match pack(event) {
            Ok(any) => any,
            Err(error) => return log::error!("encode an event for {topic}: {error}"),
        };
        let envelope = Envelope {
            timestamp: MessageField::some(clock::timestamp(SystemTime::now())),
            namespace: self.namespace.clone(),
            topic: topic.to_owned(),
            event: MessageField::some(any),
            ..Envelope::default()
        };
        let mut events = lock(&self.queue.events);
        if events.waiting.len() == CAPACITY {
            let oldest = events.waiting.pop_front().map(|envelope| envelope.topic).unwrap_or_default();
            log::warning!("{CAPACITY} events wait for the daemon: dropped one for {oldest}");
        }
        events.waiting.push_back(envelope);
        drop(events);
        self.queue.changed.notify_waiters();
        self.queue.changed.notify_one();
    }

    /// Sends events to the socket at `address` for as long as the shim lives.
    pub(crate) async fn run(self, address: String) {
        let path = PathBuf::from(address.strip_prefix("unix://").unwrap_or(&address));
        let mut connection = None;
        loop {
            let Some(envelope) = self.take() else {
                self.queue.changed.notified().await;
                continue;
            };
            self.deliver(&path, &mut connection, envelope).await;
            lock(&self.queue.events).sending = false;
            self.queue.changed.notify_waiters();
        }
    }

    /// Waits until everything published so far is sent or given up.
    pub(crate) async fn flushed(&self) {
        loop {
            let changed = self.queue.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.is_idle() {
                return;
            }
            changed.await;
        }
    }

    fn is_idle(&self) -> bool {
        let events = lock(&self.queue.events);
        events.waiting.is_empty() && !events.sending
    }

    fn take(&self) -> Option<Envelope> {
        let mut events = lock(&self.queue.events);
        let envelope = events.waiting.pop_front()?;
        events.sending = true;
        Some(envelope)
    }

    /// Tries until the daemon takes the event, or has refused it often enough.
    async fn deliver(&self, path: &PathBuf, connection: &mut Option<EventsClient>, envelope: Envelope) {
        let (mut pause, longest) = PAUSE;
        let mut refusals = 0;
        let mut told = false;
        loop {
            let failure = match forward(path, connection, &envelope).await {
                Ok(()) => return,
                Err(failure) => failure,
            };
            *connection = None;
            match failure {
                Failure::Refused(reason) => {
                    refusals += 1;
                    if refusals == ATTEMPTS {
                        return log::error!("the daemon refuses an event for {}: {reason}", envelope.topic);
                    }
                }
                Failure::Away(reason) if !told => {
                    told = true;
                    log::warning!("events wait for the daemon: {reason}");
                }
                Failure::Away(_) => {}
            }
            // There is no event to wait for: a socket that nobody listens to cannot be polled.
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(longest);
        }
    }
}

async fn forward(
    path: &PathBuf,
    connection: &mut Option<EventsClient>,
    envelope: &Envelope,
) -> Result<(), Failure> {
    let client = match connection {
        Some(client) => client,
        None => {
            let stream = UnixStream::connect(path).await;
            let stream =
                stream.map_err(|error| Failure::Away(format!("connect to {}: {error}", path.display())))?;
            connection.insert(EventsClient::new(Client::new(Socket::from(stream))))
        }
    };
    let request =
        ForwardRequest { envelope: MessageField::some(envelope.clone()), ..ForwardRequest::default() };
    let mut context = ttrpc::context::with_duration(CALL_TIMEOUT);
    context.add("containerd-namespace-ttrpc".to_owned(), envelope.namespace.clone());
    match client.forward(context, &request).await {
        Ok(_) => Ok(()),
        Err(ttrpc::Error::RpcStatus(status)) if status.code() != ttrpc::Code::DEADLINE_EXCEEDED => {
            Err(Failure::Refused(status.message))
        }
        Err(error) => Err(Failure::Away(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use proto_shim::events::TaskOOM;

    use super::*;

    #[test]
    fn the_queue_is_bounded_and_the_oldest_go() {
        let publisher = Publisher::new("ns");
        for number in 0..=CAPACITY {
            let event = TaskOOM { container_id: number.to_string(), ..Default::default() };
            publisher.publish("/tasks/oom", &event);
        }
        let first = publisher.take().unwrap();
        assert_eq!(lock(&publisher.queue.events).waiting.len(), CAPACITY - 1);
        let event: TaskOOM = proto_shim::unpack(&first.event).unwrap().unwrap();
        assert_eq!((event.container_id.as_str(), first.namespace.as_str()), ("1", "ns"));
    }
}
