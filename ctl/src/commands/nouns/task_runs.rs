//! `rctl tasks start`, `exec` and `attach`: what runs, with its streams here.

use std::path::{Path, PathBuf};

use client::Client;
use prost_types::Any;
use proto_containerd::services::{containers, snapshots, tasks as api};
use serde_json::Value;

use super::present;
use super::streams::{self, Fifos};
use crate::failure::{Failure, Result};
use crate::terminal::{self, Raw};

/// The type URL of an OCI process, as containerd has it.
const PROCESS: &str = "types.containerd.io/opencontainers/runtime-spec/1/Process";

/// Flags of `start`.
#[derive(Debug, clap::Args)]
pub struct Start {
    /// Leave the task to itself once it runs
    #[arg(short, long)]
    detach: bool,
    /// Send all streams to nowhere
    #[arg(long)]
    null_io: bool,
    /// Send output there, such as file:///path
    #[arg(long, value_name = "URI", conflicts_with = "null_io")]
    log_uri: Option<String>,
    /// Where fifos are made
    #[arg(long, value_name = "FOLDER", default_value = streams::FOLDER)]
    fifo_dir: PathBuf,
    /// Write the first process's pid there
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// The container's id
    container: String,
}

/// Flags of `exec`.
#[derive(Debug, clap::Args)]
pub struct Exec {
    /// Working directory inside the container
    #[arg(long, default_value = "")]
    cwd: String,
    /// Allocate a pseudo-terminal
    #[arg(short, long)]
    tty: bool,
    /// Leave the process to itself once it runs
    #[arg(short, long)]
    detach: bool,
    /// An id for the process, which must not be in use
    #[arg(long)]
    exec_id: String,
    /// Send output there, such as file:///path
    #[arg(long, value_name = "URI")]
    log_uri: Option<String>,
    /// Where fifos are made
    #[arg(long, value_name = "FOLDER", default_value = streams::FOLDER)]
    fifo_dir: PathBuf,
    /// User by number, with an optional group
    #[arg(long, value_name = "UID[:GID]", value_parser = user)]
    user: Option<(u32, u32)>,
    /// The container's id
    container: String,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// Makes and starts a container's task; unless detached, follows it to its end and deletes it.
pub async fn start(client: &Client, args: Start) -> Result<u8> {
    let record = container(client, &args.container).await?;
    let tty = process(&record)?["terminal"] == true;
    let fifos = fifos(args.null_io, args.log_uri, &args.fifo_dir, tty)?;
    let request = api::CreateTaskRequest {
        container_id: args.container.clone(),
        rootfs: root(client, &record).await?,
        stdin: fifos.stdin.clone(),
        stdout: fifos.stdout.clone(),
        stderr: fifos.stderr.clone(),
        terminal: tty,
        ..Default::default()
    };
    let id = args.container.as_str();
    let copying = (!args.detach).then(|| fifos.copy(streams::closer(client, id, "")));
    let started = async {
        let created = client.tasks().create(request).await?.into_inner();
        if let Some(path) = &args.pid_file {
            let wrote = std::fs::write(path, created.pid.to_string());
            wrote.map_err(|error| Failure::local(format!("write {}", path.display()), error))?;
        }
        let waiting = streams::wait(client, id, "");
        client
            .tasks()
            .start(api::StartRequest { container_id: id.to_owned(), exec_id: String::new() })
            .await?;
        Ok(waiting)
    };
    let waiting = started.await.inspect_err(|_: &Failure| fifos.remove())?;
    let Some(copying) = copying else { return Ok(0) };
    let raw = raw(tty)?;
    let code = streams::follow(client, id, "", tty, waiting).await?;
    drop(raw);
    client.tasks().delete(api::DeleteTaskRequest { container_id: id.to_owned() }).await?;
    copying.ended().await;
    fifos.remove();
    Ok(u8::try_from(code).unwrap_or(u8::MAX))
}

/// Runs another process in a task; unless detached, follows it to its end and deletes it.
pub async fn exec(client: &Client, args: Exec) -> Result<u8> {
    let record = container(client, &args.container).await?;
    let spec = exec_process(process(&record)?, &args)?;
    let fifos = fifos(false, args.log_uri.clone(), &args.fifo_dir, args.tty)?;
    let (id, exec_id) = (args.container.as_str(), args.exec_id.as_str());
    let request = api::ExecProcessRequest {
        container_id: id.to_owned(),
        exec_id: exec_id.to_owned(),
        stdin: fifos.stdin.clone(),
        stdout: fifos.stdout.clone(),
        stderr: fifos.stderr.clone(),
        terminal: args.tty,
        spec: Some(spec),
    };
    let copying = (!args.detach).then(|| fifos.copy(streams::closer(client, id, exec_id)));
    let started = async {
        client.tasks().exec(request).await?;
        let waiting = streams::wait(client, id, exec_id);
        let start = api::StartRequest { container_id: id.to_owned(), exec_id: exec_id.to_owned() };
        if let Err(status) = client.tasks().start(start).await {
            // The id is to be free again.
            let _ = delete(client, id, exec_id).await;
            return Err(status.into());
        }
        Ok(waiting)
    };
    let waiting = started.await.inspect_err(|_: &Failure| fifos.remove())?;
    let Some(copying) = copying else { return Ok(0) };
    let raw = raw(args.tty)?;
    let code = streams::follow(client, id, exec_id, args.tty, waiting).await?;
    drop(raw);
    delete(client, id, exec_id).await?;
    copying.ended().await;
    fifos.remove();
    Ok(u8::try_from(code).unwrap_or(u8::MAX))
}

/// Joins a task that runs, and follows it to its end.
pub async fn attach(client: &Client, id: &str) -> Result<u8> {
    let request = api::GetRequest { container_id: id.to_owned(), exec_id: String::new() };
    let process = present(client.tasks().get(request).await?.into_inner().process, "process")?;
    let fifos = Fifos::of(&process)?;
    let waiting = streams::wait(client, id, "");
    let raw = raw(process.terminal)?;
    let copying = fifos.copy(streams::closer(client, id, ""));
    let code = streams::follow(client, id, "", process.terminal, waiting).await?;
    drop(raw);
    client.tasks().delete(api::DeleteTaskRequest { container_id: id.to_owned() }).await?;
    copying.ended().await;
    fifos.remove();
    Ok(u8::try_from(code).unwrap_or(u8::MAX))
}

fn raw(tty: bool) -> Result<Option<Raw>> {
    let wanted = tty && terminal::stdin_is_terminal();
    let raw = wanted.then(Raw::enter).transpose();
    raw.map_err(|error| Failure::local("set the terminal to raw mode", error))
}

fn fifos(none: bool, log: Option<String>, folder: &Path, tty: bool) -> Result<Fifos> {
    match (none, log) {
        (true, _) => Ok(Fifos::default()),
        (false, Some(uri)) => Ok(Fifos { stdin: String::new(), stdout: uri.clone(), stderr: uri }),
        (false, None) => Fifos::make(folder, tty),
    }
}

async fn container(client: &Client, id: &str) -> Result<containers::Container> {
    let request = containers::GetContainerRequest { id: id.to_owned() };
    present(client.containers().get(request).await?.into_inner().container, "container")
}

async fn root(
    client: &Client,
    record: &containers::Container,
) -> Result<Vec<proto_containerd::types::Mount>> {
    if record.snapshot_key.is_empty() {
        return Ok(Vec::new());
    }
    let request = snapshots::MountsRequest {
        snapshotter: record.snapshotter.clone(),
        key: record.snapshot_key.clone(),
    };
    Ok(client.snapshots().mounts(request).await?.into_inner().mounts)
}

/// The process of a container's spec.
fn process(record: &containers::Container) -> Result<Value> {
    let spec = present(record.spec.as_ref(), "spec")?;
    let spec: Value = serde_json::from_slice(&spec.value)
        .map_err(|error| Failure::local(format!("read the spec of {}", record.id), error))?;
    Ok(spec["process"].clone())
}

/// The container's own process, with what was asked for in its place.
fn exec_process(mut process: Value, args: &Exec) -> Result<Any> {
    process["args"] = args.command.clone().into();
    process["terminal"] = args.tty.into();
    if !args.cwd.is_empty() {
        process["cwd"] = args.cwd.clone().into();
    }
    if let Some((uid, gid)) = args.user {
        process["user"] = serde_json::json!({ "uid": uid, "gid": gid });
    }
    let value = serde_json::to_vec(&process).map_err(|error| Failure::local("write the process", error))?;
    Ok(Any { type_url: PROCESS.to_owned(), value })
}

async fn delete(client: &Client, id: &str, exec_id: &str) -> Result<()> {
    let request = api::DeleteProcessRequest { container_id: id.to_owned(), exec_id: exec_id.to_owned() };
    client.tasks().delete_process(request).await?;
    Ok(())
}

/// UID or UID:GID.
fn user(text: &str) -> std::result::Result<(u32, u32), String> {
    let (uid, gid) = text.split_once(':').unwrap_or((text, "0"));
    match (uid.parse(), gid.parse()) {
        (Ok(uid), Ok(gid)) => Ok((uid, gid)),
        _ => Err(format!("{text:?} is not UID[:GID]")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_numbers() {
        assert_eq!(user("5"), Ok((5, 0)));
        assert_eq!(user("5:6"), Ok((5, 6)));
        assert!(user("root").is_err());
    }
}
