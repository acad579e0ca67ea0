//! Attach: a client connects to a container that runs.

use flows::{Flows, Phase};
use ids::{ContainerId, Namespace};
use proto_engine::v1;
use proto_engine::v1::attach_response::Response as Answer;
use tonic::{Request, Status, Streaming};

use super::Service;
use crate::caller::{bad_request, status};
use crate::session::{Answers, Session, Target, answers, send_exit, send_output};

/// Connects to the streams of a running container; docker's errors when it does not run or is frozen.
pub async fn attach(
    service: &Service,
    request: Request<Streaming<v1::AttachRequest>>,
) -> Result<Answers<v1::AttachResponse>, Status> {
    let metadata = request.metadata().clone();
    let mut requests = request.into_inner();
    let start = match requests.message().await?.and_then(|first| first.request) {
        Some(v1::attach_request::Request::Start(start)) => start,
        _ => return Err(bad_request("the first request of Attach must be start")),
    };
    let (namespace, id, config) = service.find_config(&metadata, &start.id)?;
    let flows = service.flows.clone();
    let stdin = start.stdin && config.open_stdin;
    let (streams, progress) = if start.start {
        let want = if stdin { flows::Want::Both } else { flows::Want::Output };
        let mut started = flows.start(&namespace, &id, want).await.map_err(status)?;
        (started.streams.take(), started.follower())
    } else {
        must_run(&flows, &namespace, &id).await?;
        let progress = flows.follow(&namespace, &id);
        (Some(flows.attach_streams(&namespace, &id, stdin).await.map_err(status)?), progress)
    };
    let Some(streams) = streams else { return Err(Status::internal("a started container has no streams")) };
    let target =
        Target { flows: flows.clone(), namespace: namespace.clone(), id: id.clone(), exec_id: String::new() };
    if let Some(size) = start.size.filter(|size| config.tty && size.width > 0 && size.height > 0) {
        flows.resize(&namespace, &id, "", (size.width, size.height)).await.map_err(status)?;
    }
    let (sender, answers) = answers();
    tokio::spawn(async move {
        let started = v1::AttachStarted { id: id.to_string(), tty: config.tty };
        if sender.send(Ok(wrap(Answer::Started(started)))).await.is_err() {
            return;
        }
        let session = Session::new();
        target.listen(requests, streams.input, &session);
        let wanted = (start.stdout, start.stderr);
        let sent = send_output(streams.output, &sender, wanted, |output| wrap(Answer::Output(output))).await;
        let exit = async {
            match progress {
                Some(progress) => progress.ended().await,
                None => flows.wait_stopped(&namespace, &id).await,
            }
        };
        send_exit(sent, exit, &sender, |exit| wrap(Answer::Exit(exit))).await;
    });
    Ok(answers)
}

/// docker's errors.
async fn must_run(flows: &Flows, namespace: &Namespace, id: &ContainerId) -> Result<(), Status> {
    match flows.line_of(namespace, id).await.map_err(status)?.phase {
        Phase::Running => Ok(()),
        Phase::Paused => {
            Err(Status::failed_precondition("cannot attach to a paused container, unpause it first"))
        }
        _ => Err(Status::failed_precondition("cannot attach to a stopped container, start it first")),
    }
}

fn wrap(answer: Answer) -> v1::AttachResponse {
    v1::AttachResponse { response: Some(answer) }
}
