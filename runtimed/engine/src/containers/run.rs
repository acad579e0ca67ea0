//! Run: create, attach, start, follow and, if asked, remove, over one stream.

use flows::config::ContainerConfig;
use flows::{Flows, Started, Want};
use ids::{ContainerId, Namespace};
use proto_engine::v1;
use proto_engine::v1::run_response::Response as Answer;
use tonic::{Request, Status, Streaming};

use crate::caller::{bad_request, namespace, status};
use crate::config::container_config;
use crate::session::{Answers, Session, Target, answers, send_exit, send_output};

/// Makes and starts the container before it answers, so that what goes wrong is the call's own error; then follows it.
pub async fn run(
    flows: &Flows,
    request: Request<Streaming<v1::RunRequest>>,
) -> Result<Answers<v1::RunResponse>, Status> {
    let namespace = namespace(request.metadata())?;
    let mut requests = request.into_inner();
    let start = match requests.message().await?.and_then(|first| first.request) {
        Some(v1::run_request::Request::Start(start)) => start,
        _ => return Err(bad_request("the first request of Run must be start")),
    };
    let config = container_config(start.config.clone())?;
    let auto_remove = config.auto_remove;
    let want = match (start.detach, start.attach_stdin) {
        (true, _) => Want::Nothing,
        (false, true) => Want::Both,
        (false, false) => Want::Output,
    };
    // On a task of its own: a client that vanishes in the middle leaves a container that runs, never one that is half made.
    let begun = tokio::spawn(marks::carry(begin(flows.clone(), namespace.clone(), config, want))).await;
    let (id, mut started) = begun.map_err(|error| Status::internal(error.to_string()))?.map_err(status)?;
    let target = Target { flows: flows.clone(), namespace, id: id.clone(), exec_id: String::new() };
    if let Some(size) = start.size.filter(|size| size.width > 0 && size.height > 0)
        && let Err(error) = flows.resize(&target.namespace, &id, "", (size.width, size.height)).await
    {
        tracing::debug!(container = %id, error = %error.chain(), "the first size did not reach the terminal");
    }
    let (sender, answers) = answers();
    let streams = started.streams.take();
    tokio::spawn(async move {
        let created = v1::CreateResponse { id: id.to_string(), warnings: Vec::new() };
        for answer in [Answer::Created(created), Answer::Started(true)] {
            if sender.send(Ok(wrap(answer))).await.is_err() {
                return;
            }
        }
        let Some(streams) = streams else { return };
        let session = Session::new();
        target.listen(requests, streams.input, &session);
        let wanted = (start.attach_stdout, start.attach_stderr);
        let sent = send_output(streams.output, &sender, wanted, |output| wrap(Answer::Output(output))).await;
        send_exit(sent, started.ended(auto_remove), &sender, |exit| wrap(Answer::Exit(exit))).await;
    });
    Ok(answers)
}

/// docker keeps a container that did not start, unless it was to be removed.
async fn begin(
    flows: Flows,
    namespace: Namespace,
    config: ContainerConfig,
    want: Want,
) -> errors::Result<(ContainerId, Started)> {
    let auto_remove = config.auto_remove;
    let id = flows.create(&namespace, config).await?;
    match flows.start(&namespace, &id, want).await {
        Ok(started) => Ok((id, started)),
        Err(error) => {
            if auto_remove && let Err(error) = flows.remove(&namespace, &id, true).await {
                tracing::warn!(container = %id, error = %error.chain(), "a container that did not start stays");
            }
            Err(error)
        }
    }
}

fn wrap(answer: Answer) -> v1::RunResponse {
    v1::RunResponse { response: Some(answer) }
}
