//! `containerd.services.transfer.v1.Transfer`: from a registry or an archive into the image store, out of it into
//! either, from one name to another, and from one stream to another. Other pairs answer `Unimplemented` and say which.

mod auth;
mod echo;
mod endpoint;
mod export;
mod import;
mod lease;
mod progress;
mod pull;
mod push;
mod registry;
mod store;
mod tag;

use errors::{Error, Result};
use flows::Rooms;
use proto_containerd::services::transfer::TransferRequest;
use proto_containerd::services::transfer::transfer_server::Transfer;
use tonic::{Request, Response, Status};

use self::endpoint::Endpoint;
use self::lease::Leased;
use self::progress::Reporter;
use crate::caller::Caller;
use crate::status::{refuse, required};
use crate::streaming::Streams;

pub(crate) struct TransferService {
    rooms: Rooms,
    streams: Streams,
}

/// What every kind of transfer works with.
pub(crate) struct Job<'a> {
    rooms: &'a Rooms,
    streams: &'a Streams,
    caller: &'a Caller,
    lease: &'a Leased,
    reporter: &'a Reporter,
}

impl TransferService {
    pub(crate) fn new(rooms: &Rooms, streams: Streams) -> TransferService {
        TransferService { rooms: rooms.clone(), streams }
    }

    async fn transferred(&self, caller: &Caller, request: TransferRequest) -> Result<(), Status> {
        let source = Endpoint::of(&required(request.source, "source")?).map_err(refuse)?;
        let destination = Endpoint::of(&required(request.destination, "destination")?).map_err(refuse)?;
        let progress = request.options.map(|options| options.progress_stream).filter(|name| !name.is_empty());
        let stream =
            progress.map(|name| self.streams.take(&caller.namespace, &name)).transpose().map_err(refuse)?;
        let reporter = Reporter::start(stream);
        let done = self.run(caller, &reporter, source, destination).await;
        // The client hears of the last step before it hears of the end.
        reporter.finish().await;
        done.map_err(refuse)
    }

    async fn run(
        &self,
        caller: &Caller,
        reporter: &Reporter,
        source: Endpoint,
        destination: Endpoint,
    ) -> Result<()> {
        let lease = Leased::new(&self.rooms.leases, caller).await?;
        let job = Job { rooms: &self.rooms, streams: &self.streams, caller, lease: &lease, reporter };
        match (source, destination) {
            (Endpoint::Registry(source), Endpoint::Store(store)) => job.pull(source, store).await,
            (Endpoint::Store(store), Endpoint::Registry(destination)) => job.push(store, destination).await,
            (Endpoint::Import(source), Endpoint::Store(store)) => job.import(source, store).await,
            (Endpoint::Store(store), Endpoint::Export(destination)) => job.export(store, destination).await,
            (Endpoint::Import(source), Endpoint::Export(destination)) => job.echo(source, destination).await,
            (Endpoint::Store(source), Endpoint::Store(destination)) => job.tag(source, destination).await,
            (source, destination) => Err(Error::unimplemented(format!(
                "method Transfer not implemented for {} to {}",
                source.name(),
                destination.name()
            ))),
        }
    }
}

#[tonic::async_trait]
impl Transfer for TransferService {
    async fn transfer(&self, request: Request<TransferRequest>) -> Result<Response<()>, Status> {
        let caller = Caller::of(&request)?;
        self.transferred(&caller, request.into_inner()).await?;
        Ok(Response::new(()))
    }
}
