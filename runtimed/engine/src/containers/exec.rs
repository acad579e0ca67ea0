//! Exec: another process in a running container.

use flows::ExecRequest;
use proto_engine::v1;
use proto_engine::v1::exec_response::Response as Answer;
use tonic::{Request, Status, Streaming};

use super::Service;
use crate::caller::{bad_request, status};
use crate::session::{Answers, Session, Target, answers, send_exit, send_output};

/// Starts the process before it answers, so that what goes wrong is the call's own error; then follows it.
pub async fn exec(
    service: &Service,
    request: Request<Streaming<v1::ExecRequest>>,
) -> Result<Answers<v1::ExecResponse>, Status> {
    let metadata = request.metadata().clone();
    let mut requests = request.into_inner();
    let start = match requests.message().await?.and_then(|first| first.request) {
        Some(v1::exec_request::Request::Start(start)) => start,
        _ => return Err(bad_request("the first request of Exec must be start")),
    };
    let (namespace, id) = service.find(&metadata, &start.id)?;
    let flows = service.flows.clone();
    let mut running = flows.exec(&namespace, &id, asked(start)).await.map_err(status)?;
    let target = Target { flows, namespace, id, exec_id: running.exec_id.to_string() };
    let (sender, answers) = answers();
    tokio::spawn(async move {
        let started = v1::ExecStarted { exec_id: running.exec_id.to_string(), pid: running.pid };
        let session = Session::new();
        let streams = running.streams.take().map(|streams| {
            target.listen(requests, streams.input, &session);
            streams.output
        });
        // A client that has gone by now has its process's stdin ended all the same.
        if sender.send(Ok(wrap(Answer::Started(started)))).await.is_err() {
            return;
        }
        let Some(output) = streams else { return };
        let sent = send_output(output, &sender, (true, true), |output| wrap(Answer::Output(output))).await;
        send_exit(sent, running.ended(), &sender, |exit| wrap(Answer::Exit(exit))).await;
    });
    Ok(answers)
}

fn asked(start: v1::ExecStart) -> ExecRequest {
    ExecRequest {
        args: start.args,
        env: start.env,
        working_dir: start.working_dir,
        user: start.user,
        tty: start.tty,
        privileged: start.privileged,
        detach: start.detach,
        stdin: start.attach_stdin,
        size: start
            .size
            .map(|size| (size.width, size.height))
            .filter(|(width, height)| *width > 0 && *height > 0),
    }
}

fn wrap(answer: Answer) -> v1::ExecResponse {
    v1::ExecResponse { response: Some(answer) }
}
