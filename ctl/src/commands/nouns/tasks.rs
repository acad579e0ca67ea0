//! `rctl tasks`: what runs of containers.

use clap::Subcommand;
use client::Client;
use proto_containerd::services::tasks as api;
use proto_containerd::types::task::{ProcessInfo, Status};
use tonic::Code;

use super::streams::Fifos;
use super::{metrics, task_runs};
use crate::commands::each;
use crate::context::Context;
use crate::failure::{Failure, Result, plain};
use crate::output::table::Table;

/// SIGKILL.
const KILL: u32 = 9;

/// Verbs of `tasks`.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List tasks
    #[command(visible_alias = "list")]
    Ls {
        /// Print ids only
        #[arg(short, long)]
        quiet: bool,
    },
    /// Make and start the task of a container
    Start(task_runs::Start),
    /// Run another process in a container
    Exec(task_runs::Exec),
    /// Join the streams of a container that runs
    Attach {
        /// The container's id
        container: String,
    },
    /// List the processes of a container
    Ps {
        /// The container's id
        container: String,
    },
    /// Send a signal to a task
    Kill {
        /// The signal's name or number
        #[arg(short, long, default_value = "SIGTERM", value_parser = signal)]
        signal: u32,
        /// The process of an exec, in place of the first one
        #[arg(long, default_value = "")]
        exec_id: String,
        /// All processes of the container
        #[arg(short, long)]
        all: bool,
        /// The container's id
        container: String,
    },
    /// Remove what is left of tasks that have ended
    #[command(visible_aliases = ["remove", "delete", "del"])]
    Rm {
        /// Kill a task that runs
        #[arg(short, long)]
        force: bool,
        /// The process of an exec, in place of the task
        #[arg(long, default_value = "")]
        exec_id: String,
        /// The containers' ids
        #[arg(required = true, value_name = "CONTAINER")]
        containers: Vec<String>,
    },
    /// Tell what a container uses
    #[command(visible_alias = "metric")]
    Metrics {
        /// How to show it: table or json
        #[arg(long, default_value = "table", value_parser = ["table", "json"])]
        format: String,
        /// The container's id
        container: String,
    },
    /// Freeze a container
    Pause {
        /// The container's id
        container: String,
    },
    /// Thaw a container
    Resume {
        /// The container's id
        container: String,
    },
}

/// Carries a verb out.
pub async fn run(context: &Context, verb: Verb) -> Result<u8> {
    let client = context.client().await?;
    let mut tasks = client.tasks();
    match verb {
        Verb::Ls { quiet } => {
            list(tasks.list(api::ListTasksRequest::default()).await?.into_inner(), quiet);
        }
        Verb::Start(args) => return task_runs::start(&client, args).await,
        Verb::Exec(args) => return task_runs::exec(&client, args).await,
        Verb::Attach { container } => return task_runs::attach(&client, &container).await,
        Verb::Ps { container } => {
            let request = api::ListPidsRequest { container_id: container };
            processes(tasks.list_pids(request).await?.into_inner().processes);
        }
        Verb::Kill { signal, exec_id, all, container } => {
            tasks.kill(api::KillRequest { container_id: container, exec_id, signal, all }).await?;
        }
        Verb::Rm { force, exec_id, containers } => {
            return remove(&client, force, &exec_id, &containers).await;
        }
        Verb::Metrics { format, container } => {
            let filters = vec![format!("id=={container}")];
            let answer = tasks.metrics(api::MetricsRequest { filters }).await?.into_inner();
            let Some(metric) = answer.metrics.into_iter().next() else {
                return Err(Failure::Local(format!(
                    "no metrics of {container}: `rctl tasks ls` lists what runs"
                )));
            };
            out!("{}", metrics::show(&metric, format == "json")?);
        }
        Verb::Pause { container } => {
            tasks.pause(api::PauseTaskRequest { container_id: container }).await?;
        }
        Verb::Resume { container } => {
            tasks.resume(api::ResumeTaskRequest { container_id: container }).await?;
        }
    }
    Ok(0)
}

fn list(answer: api::ListTasksResponse, quiet: bool) {
    // The service tells a task's container in `id`.
    if quiet {
        return answer.tasks.iter().for_each(|task| outln!("{}", task.id));
    }
    let mut table = Table::new(&["TASK", "PID", "STATUS"]);
    for task in answer.tasks {
        let status = status(task.status()).to_owned();
        table.row(vec![task.id, task.pid.to_string(), status]);
    }
    out!("{}", table.render());
}

fn status(status: Status) -> &'static str {
    match status {
        Status::Created => "CREATED",
        Status::Running => "RUNNING",
        Status::Stopped => "STOPPED",
        Status::Paused => "PAUSED",
        Status::Pausing => "PAUSING",
        Status::Unknown => "UNKNOWN",
    }
}

fn processes(processes: Vec<ProcessInfo>) {
    let mut table = Table::new(&["PID", "INFO"]);
    for process in processes {
        table.row(vec![process.pid.to_string(), info(&process)]);
    }
    out!("{}", table.render());
}

/// Only an exec's process has more to tell than its number.
fn info(process: &ProcessInfo) -> String {
    use proto_containerd::options::runc::ProcessDetails;
    let Some(any) = &process.info else { return "-".to_owned() };
    match proto_containerd::unpack::<ProcessDetails>(any) {
        Ok(Some(details)) => format!("exec_id:\"{}\"", plain(&details.exec_id)),
        _ => any.type_url.clone(),
    }
}

/// The code is the last task's that ended badly, as `ctr`'s is.
async fn remove(client: &Client, force: bool, exec_id: &str, containers: &[String]) -> Result<u8> {
    let worst = std::cell::Cell::new(0);
    each(containers, |id| {
        let worst = &worst;
        async move {
            if force {
                kill(client, &id, exec_id).await?;
            }
            let (container_id, exec_id) = (id, exec_id.to_owned());
            let mut tasks = client.tasks();
            let asked = api::GetRequest { container_id: container_id.clone(), exec_id: exec_id.clone() };
            let streams = tasks.get(asked).await.ok().and_then(|answer| answer.into_inner().process);
            let ended = if exec_id.is_empty() {
                tasks.delete(api::DeleteTaskRequest { container_id }).await
            } else {
                tasks.delete_process(api::DeleteProcessRequest { container_id, exec_id }).await
            };
            let ended = match ended {
                // Whoever made it saw its end too, and was faster.
                Err(status) if force && status.code() == Code::NotFound => return Ok(()),
                ended => ended?,
            };
            if let Some(Ok(fifos)) = streams.as_ref().map(Fifos::of) {
                fifos.remove();
            }
            match u8::try_from(ended.into_inner().exit_status).unwrap_or(u8::MAX) {
                0 => {}
                code => worst.set(code),
            }
            Ok(())
        }
    })
    .await?;
    // A task that was killed here ended as it was asked to.
    Ok(if force { 0 } else { worst.get() })
}

/// Kills a process and waits for its end; one that has ended already is no mistake, one that never was is.
async fn kill(client: &Client, id: &str, exec_id: &str) -> Result<()> {
    let mut tasks = client.tasks();
    let (container_id, exec_id) = (id.to_owned(), exec_id.to_owned());
    tasks.get(api::GetRequest { container_id: container_id.clone(), exec_id: exec_id.clone() }).await?;
    let all = exec_id.is_empty();
    let request =
        api::KillRequest { container_id: container_id.clone(), exec_id: exec_id.clone(), signal: KILL, all };
    let gone = |status: &tonic::Status| matches!(status.code(), Code::NotFound | Code::FailedPrecondition);
    match tasks.kill(request).await {
        Err(status) if !gone(&status) => return Err(status.into()),
        _ => {}
    }
    match tasks.wait(api::WaitRequest { container_id, exec_id }).await {
        Err(status) if !gone(&status) => Err(status.into()),
        _ => Ok(()),
    }
}

/// A signal's name, with or without SIG, or its number.
fn signal(text: &str) -> std::result::Result<u32, String> {
    let unknown = || format!("unknown signal {text:?}");
    if let Ok(number) = text.parse::<u32>() {
        return (1..=64).contains(&number).then_some(number).ok_or_else(unknown);
    }
    let upper = text.to_ascii_uppercase();
    let name = if upper.starts_with("SIG") { upper } else { format!("SIG{upper}") };
    let signal: nix::sys::signal::Signal = name.parse().map_err(|_| unknown())?;
    u32::try_from(signal as i32).map_err(|_| unknown())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_numbers() {
        for text in ["9", "KILL", "sigkill", "SIGKILL"] {
            assert_eq!(signal(text), Ok(9), "{text}");
        }
        assert_eq!(signal("64"), Ok(64));
        for bad in ["0", "65", "-1", "NOPE", ""] {
            assert!(signal(bad).is_err(), "{bad}");
        }
    }
}
