//! What follows the end of a process: its streams are drained, its end is kept and published. The end of init
//! comes after those of all other processes.

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use proto_shim::MessageField;
use proto_shim::events::TaskExit;
use runc_client::{KillOptions, Ready};

use super::Service;
use super::delete::take_apart;
use crate::container::Container;
use crate::process::Process;
use crate::reaper::{Exit, Pending};
use crate::state::Status;
use crate::sync::lock;
use crate::{clock, executor, log};

/// How long an end may wait for output to be delivered: something in the background may hold the pipe
/// forever.
const DRAIN: Duration = Duration::from_secs(2);
/// How long the daemon has to take the news of an end before anything else is done about it.
const TELLING: Duration = Duration::from_millis(20);
/// How long init's end may wait for those of the others, which have been killed.
const OTHERS: Duration = Duration::from_secs(10);

impl Service {
    /// Waits for the end of a process, and does what follows.
    pub(super) async fn await_exit(
        self: Arc<Self>,
        container: Arc<Container>,
        process: Arc<Process>,
        pending: Pending,
    ) {
        let exit = pending.wait().await;
        marks::passed("shim.exit.seen");
        if process.is_init() {
            container.set_init_ended();
            // First of all: what follows may take seconds, and who is killed at it knows no more.
            if let Err(error) = container.bundle.write_exit(&exit) {
                log::warning!("{}", error.chain());
            }
            marks::passed("shim.exit.written");
            self.end_others(&container).await;
        }
        let drained = process.drained(DRAIN).await;
        if !drained {
            log::debug!("process {}: output is still being delivered", exit.pid);
        }
        // A start under way is published first.
        let _starting = process.starting.lock().await;
        self.publisher.publish("/tasks/exit", &event(&container, &process, &exit));
        marks::passed("shim.exit.published");
        if process.is_init() {
            self.expect_deletion(&container, &process, drained);
        }
        process.set_exited(exit);
    }

    /// Begins the deletion of a container that goes with its end; of another, has the executor for it started. Those who wait for the end are
    /// told first: the kernel holds the one thread up while it unmounts, and while a program is started.
    fn expect_deletion(&self, container: &Arc<Container>, init: &Arc<Process>, drained: bool) {
        let (publisher, whole, init) = (self.publisher.clone(), container.clone(), init.clone());
        let told = async move { tokio::time::timeout(TELLING, publisher.flushed()).await };
        // Whoever still reads its output says when that is over, by asking for the deletion.
        if container.goes_with_its_end && drained {
            let deletion = tokio::spawn(marks::carry(async move {
                let _ = told.await;
                take_apart(&whole, &init).await
            }));
            *lock(&container.deletion) = Some(deletion);
        } else if container.runc.can_wait() && executor::may_stand_by() {
            tokio::spawn(async move {
                let _ = told.await;
                // Nobody waits any more once it is being deleted. Without one, it is started when it is needed.
                if let Ok(_operation) = init.operation.try_lock() {
                    let mut whom = OsString::from(standby::TO_DELETE);
                    whom.push(whole.bundle.path());
                    *lock(&whole.undertaker) = Ready::start(&whole.runc, &whom).ok();
                }
            });
        }
    }

    /// Without a pid namespace of its own, processes outlive their init unless they are killed.
    async fn end_others(&self, container: &Container) {
        if !container.has_own_pid_namespace
            && let Err(error) = container.runc.kill(&container.id, 9, KillOptions { all: true }).await
        {
            log::debug!("kill what init left behind: {error}");
        }
        for process in container.execs() {
            let ended = async {
                // One that is being started now ends, or fails to start.
                drop(process.starting.lock().await);
                if process.status() != Status::Created {
                    process.wait().await;
                }
            };
            if tokio::time::timeout(OTHERS, ended).await.is_err() {
                log::warning!("process {} outlives its container", process.pid());
            }
        }
    }
}

fn event(container: &Container, process: &Process, exit: &Exit) -> TaskExit {
    let id = if process.is_init() { &container.id } else { &process.exec_id };
    TaskExit {
        container_id: container.id.clone(),
        id: id.clone(),
        pid: exit.pid,
        exit_status: exit.status,
        exited_at: MessageField::some(clock::timestamp(exit.at)),
        ..TaskExit::default()
    }
}
