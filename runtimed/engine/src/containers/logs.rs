//! Logs: the kept output of a container.

use flows::{Flows, LogQuery};
use ids::{ContainerId, Namespace};
use proto_engine::v1;
use tonic::Status;

use crate::caller::status;
use crate::convert::{system_time, timestamp};
use crate::session::{Answers, answers};

/// Opens the output before it answers, so that what goes wrong is the call's own error; then sends line after line.
pub async fn logs(
    flows: &Flows,
    namespace: &Namespace,
    id: &ContainerId,
    request: v1::LogsRequest,
) -> Result<Answers<v1::LogsResponse>, Status> {
    if !(request.stdout || request.stderr) {
        return Err(Status::invalid_argument("Bad parameters: you must choose at least one stream"));
    }
    let query = LogQuery {
        follow: request.follow,
        tail: request.tail,
        since: request.since.and_then(system_time),
        until: request.until.and_then(system_time),
    };
    let mut lines = flows.logs(namespace, id, &query).await.map_err(status)?;
    let (sender, answers) = answers();
    tokio::spawn(async move {
        loop {
            let line = tokio::select! {
                line = lines.next() => line,
                // The client has gone, and a silent container would never tell.
                () = sender.closed() => return,
            };
            let message = match line {
                Ok(Some(line)) => {
                    let (stream, wanted) = match line.stream {
                        logs::Stream::Stdout => (v1::output::Stream::Stdout, request.stdout),
                        logs::Stream::Stderr => (v1::output::Stream::Stderr, request.stderr),
                    };
                    if !wanted {
                        continue;
                    }
                    let mut data = line.bytes;
                    if !line.partial {
                        data.push(b'\n');
                    }
                    Ok(v1::LogsResponse {
                        stream: stream.into(),
                        timestamp: Some(timestamp(line.time)),
                        data,
                    })
                }
                Ok(None) => return,
                Err(error) => Err(status(error)),
            };
            let failed = message.is_err();
            if sender.send(message).await.is_err() || failed {
                return;
            }
        }
    });
    Ok(answers)
}
