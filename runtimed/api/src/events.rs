//! `containerd.services.events.v1.Events`, and the Forward that shims call over ttrpc.

use std::time::SystemTime;

use ::events::{Bus, Envelope, Subscription};
use async_trait::async_trait;
use errors::{Error, Result};
use filters::Filters;
use flows::Rooms;
use futures::stream::{self, BoxStream, StreamExt};
use ids::Namespace;
use prost_types::{Any, Timestamp};
use proto_containerd::services::events as wire;
use proto_containerd::types;
use proto_shim::events_ttrpc;
use task::Tasks;
use tonic::{Request, Response, Status};

use crate::caller::Caller;
use crate::convert::{system_time, timestamp};
use crate::status::{refuse, required};

/// Both fronts: what a client forwards and what a shim forwards takes the same way.
#[derive(Clone)]
pub(crate) struct EventsService {
    bus: Bus,
    tasks: Tasks,
}

impl EventsService {
    pub(crate) fn new(rooms: &Rooms) -> EventsService {
        EventsService { bus: rooms.events.clone(), tasks: rooms.tasks.clone() }
    }

    /// The task's actor learns first, so that whoever hears of an exit can ask for its status. An exit that was reported
    /// already is not reported again.
    fn forwarded(&self, envelope: Envelope) -> Result<()> {
        if self.tasks.shim_event(&envelope) { self.bus.forward(envelope) } else { Ok(()) }
    }
}

#[tonic::async_trait]
impl wire::events_server::Events for EventsService {
    type SubscribeStream = BoxStream<'static, Result<types::Envelope, Status>>;

    async fn publish(&self, request: Request<wire::PublishRequest>) -> Result<Response<()>, Status> {
        let caller = Caller::of(&request)?;
        let wire::PublishRequest { topic, event } = request.into_inner();
        let event = required(event, "event")?;
        let envelope = Envelope { timestamp: SystemTime::now(), namespace: caller.namespace, topic, event };
        self.bus.forward(envelope).map_err(refuse)?;
        Ok(Response::new(()))
    }

    async fn forward(&self, request: Request<wire::ForwardRequest>) -> Result<Response<()>, Status> {
        let envelope = from_wire(required(request.into_inner().envelope, "envelope")?).map_err(refuse)?;
        self.forwarded(envelope).map_err(refuse)?;
        Ok(Response::new(()))
    }

    async fn subscribe(
        &self,
        request: Request<wire::SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let filters = Filters::parse(&request.into_inner().filters).map_err(refuse)?;
        let subscription = self.bus.subscribe(filters);
        Ok(Response::new(stream::unfold(Some(subscription), next).boxed()))
    }
}

/// An error ends the subscription.
async fn next(
    subscription: Option<Subscription>,
) -> Option<(Result<types::Envelope, Status>, Option<Subscription>)> {
    let mut subscription = subscription?;
    match subscription.next().await {
        Ok(None) => None,
        Ok(Some(envelope)) => Some((Ok(to_wire(envelope)), Some(subscription))),
        Err(error) => Some((Err(refuse(error)), None)),
    }
}

#[async_trait]
impl events_ttrpc::Events for EventsService {
    async fn forward(
        &self,
        _: &ttrpc::asynchronous::TtrpcContext,
        request: events_ttrpc::ForwardRequest,
    ) -> ttrpc::Result<proto_shim::Empty> {
        let forwarded = from_shim(request).and_then(|envelope| self.forwarded(envelope));
        match forwarded {
            Ok(()) => Ok(proto_shim::Empty::new()),
            Err(error) => {
                let status = refuse(error);
                Err(ttrpc::Error::RpcStatus(ttrpc::get_status(code(&status), status.message())))
            }
        }
    }
}

/// ttrpc's codes are gRPC's by number.
fn code(status: &Status) -> ttrpc::Code {
    use proto_shim::Enum as _;
    ttrpc::Code::from_i32(status.code() as i32).unwrap_or(ttrpc::Code::UNKNOWN)
}

fn from_wire(envelope: types::Envelope) -> Result<Envelope> {
    let timestamp = envelope.timestamp.ok_or_else(|| Error::invalid("envelope.timestamp is required"))?;
    Ok(Envelope {
        timestamp: system_time(timestamp)?,
        namespace: Namespace::parse(&envelope.namespace)?,
        topic: envelope.topic,
        event: envelope.event.ok_or_else(|| Error::invalid("envelope.event is required"))?,
    })
}

fn from_shim(request: events_ttrpc::ForwardRequest) -> Result<Envelope> {
    let envelope = request.envelope.into_option().ok_or_else(|| Error::invalid("envelope is required"))?;
    let timestamp =
        envelope.timestamp.into_option().map(|at| Timestamp { seconds: at.seconds, nanos: at.nanos });
    let event =
        envelope.event.into_option().map(|event| Any { type_url: event.type_url, value: event.value });
    from_wire(types::Envelope { timestamp, namespace: envelope.namespace, topic: envelope.topic, event })
}

fn to_wire(envelope: Envelope) -> types::Envelope {
    types::Envelope {
        timestamp: timestamp(envelope.timestamp),
        namespace: envelope.namespace.to_string(),
        topic: envelope.topic,
        event: Some(envelope.event),
    }
}
