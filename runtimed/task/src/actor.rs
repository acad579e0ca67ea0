//! One tokio task owns one container task: its processes, its connection to the shim, and who waits.
//!
//! Requests come through a bounded queue. The actor itself never waits for the shim: each call is a job,
//! whose end comes back to the actor as [`Done`]; so calls overtake each other as they would in the shim.
//!
//! ```text
//!             connection closed          `shim delete` done
//!     Live ----------------------> Losing ----------------> Lost
//!      |  <----------------------    |                       |
//!      |      it lives after all     | nobody deletes        |
//!      '--------> Deleting <---------'-----------------------'
//!        delete      |
//!                    v  bundle hidden: the actor ends, shim and bundle go
//! ```

mod calls;
mod delete;
mod loss;
mod report;
mod tell;
mod watch;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Weak};
use std::time::SystemTime;

use errors::{Error, Kind, Result};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::bundle::{Bootstrap, Bundle};
use crate::call::{Answer, Call};
use crate::ledger::Ledger;
use crate::process::{Proc, Reply, Seen};
use crate::shim_conn::ShimConn;
use crate::shim_log::ShimLog;
use crate::table::{Handle, Key, Shared, Table};
use crate::types::{Exit, Io, Process, Status};
use loss::Loss;

/// How many requests may wait for the actor, which takes each at once.
const QUEUE: usize = 64;

/// How many calls may be under way to a shim that does not answer.
const CALLS: usize = 512;

/// What an actor can be asked.
#[derive(Debug)]
pub(crate) enum Request {
    /// Ask the shim.
    Call { call: Call, reply: Reply<Answer> },
    /// Wait for the end of a process.
    Wait { exec_id: String, reply: Reply<Exit> },
    /// Delete the task.
    Delete { reply: Reply<Exit> },
    /// Tell what is known of init, at once.
    Look { reply: Reply<Process> },
    /// End the shim without asking it.
    EndShim { reply: Reply<()> },
    /// Say what the actor is at.
    Tell { reply: Reply<String> },
    /// The shim has sent an event.
    Told(Told),
}

/// What a shim's event says, as far as the actor cares. Everything in it is also learned otherwise, only
/// later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Told {
    /// A process has ended.
    Exited { exec_id: String, pid: u32, status: u32, at: SystemTime },
    /// The container is frozen.
    Paused,
    /// The container is thawed.
    Resumed,
}

/// What a job ends with.
enum Done {
    /// A call.
    Answered(Box<(u64, Call, Result<Answer>, Reply<Answer>)>),
    /// Who the restored shim is, and how init is.
    Identified(Result<(Seen, u32)>),
    /// The pid of a new shim.
    ShimPid(Result<u32>),
    /// A shim that hung has answered, or is lost.
    Answers(Result<(Seen, u32)>),
    /// A shim was ended without being asked.
    ShimEnded,
    /// A process has ended, or will never be known to have.
    Ended { exec_id: String, pid: u32, result: Result<(u32, SystemTime)> },
    /// What came of a lost connection.
    Loss(Loss),
    /// The task and its shim are deleted, or not.
    Deleted(Result<delete::Deleted>),
    /// Something was written down.
    Noted,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The shim is there, or is believed to be.
    Live,
    /// The connection is lost; the reason is being looked into.
    Losing,
    /// The shim is dead and cleaned after; the exit is kept until the task is deleted.
    Lost,
    /// On its way out.
    Deleting,
}

/// See the module.
pub(crate) struct Actor {
    key: Key,
    shared: Arc<Shared>,
    table: Weak<Table>,
    ledger: Ledger,
    bundle: Bundle,
    bootstrap: Bootstrap,
    phase: Phase,
    conn: Option<Arc<ShimConn>>,
    shim_pid: Option<u32>,
    /// How often in a row a lost connection was replaced without an answer on the new one.
    retries: u32,
    /// By exec id; init's is empty, and always there.
    procs: BTreeMap<String, Proc>,
    jobs: JoinSet<Done>,
    /// Calls under way, of the jobs.
    calls: tell::Calls,
    /// A shim that hangs is being asked how init is, for as long as it takes.
    asking: bool,
    deletes: Vec<Reply<Exit>>,
    /// The trace of who asked last for that.
    delete_trace: Option<marks::Trace>,
    /// Notes being written, of the jobs.
    notes: usize,
    /// It is known how a restored task is.
    known: bool,
    /// Told once it is known how a restored task is.
    settled: Option<oneshot::Sender<()>>,
    log: Option<ShimLog>,
    /// Whoever clears the bundle of processes holds this: the command that cleans after a dead shim works there as well, and would be taken
    /// for what it looks for.
    clearing: Arc<tokio::sync::Mutex<()>>,
}

/// Enters `actor` into the table; it lives once the future is spawned.
pub(crate) fn enter(table: &Table, key: &Key, actor: Actor) -> impl Future<Output = ()> + Send + use<> {
    let (requests, queue) = mpsc::channel(QUEUE);
    let address = if actor.phase == Phase::Lost { "" } else { actor.bootstrap.address.as_str() };
    table.ready(key, Handle { requests, ledger: actor.ledger.clone(), address: address.into() });
    actor.run(queue)
}

impl Actor {
    fn new(table: &Arc<Table>, key: &Key, ledger: Ledger, bundle: Bundle, init: Proc) -> Actor {
        let bootstrap = Bootstrap { version: 0, address: String::new(), protocol: String::new() };
        Actor {
            key: key.clone(),
            shared: table.shared.clone(),
            table: Arc::downgrade(table),
            ledger,
            bundle,
            bootstrap,
            phase: Phase::Live,
            conn: None,
            shim_pid: None,
            retries: 0,
            procs: BTreeMap::from([(String::new(), init)]),
            jobs: JoinSet::new(),
            calls: tell::Calls::default(),
            asking: false,
            deletes: Vec::new(),
            delete_trace: None,
            notes: 0,
            known: false,
            settled: None,
            log: None,
            clearing: Arc::default(),
        }
    }

    /// Of a task that was created just now.
    #[expect(clippy::too_many_arguments, reason = "each is a part of the actor, handed over once")]
    pub(crate) fn created(
        table: &Arc<Table>,
        key: &Key,
        ledger: Ledger,
        bundle: Bundle,
        conn: Option<ShimConn>,
        bootstrap: Bootstrap,
        log: ShimLog,
        (pid, status, io): (u32, Status, Io),
        shim_pid: Option<u32>,
    ) -> Actor {
        let init = Proc::new(pid, status, io);
        let mut actor = Actor::new(table, key, ledger, bundle, init);
        actor.bootstrap = bootstrap;
        actor.log = Some(log);
        actor.conn = conn.map(Arc::new);
        actor.shim_pid = shim_pid;
        if let Some(conn) = actor.conn.clone()
            && shim_pid.is_none()
        {
            actor.jobs.spawn(async move { Done::ShimPid(conn.shim_pid().await) });
        }
        actor.watch("");
        actor
    }

    /// Of a task that an earlier daemon created, and of whose exit it may have told; `settled` is told when
    /// it is known how it is.
    pub(crate) fn restored(
        table: &Arc<Table>,
        key: &Key,
        ledger: Ledger,
        bundle: Bundle,
        bootstrap: Bootstrap,
        reported: Option<Exit>,
        settled: oneshot::Sender<()>,
    ) -> Actor {
        let mut actor = Actor::new(table, key, ledger, bundle, init(reported));
        actor.bootstrap = bootstrap;
        actor.log = open_log(&actor.bundle, key);
        actor.settled = Some(settled);
        // Not connected yet: exactly as if the connection had been lost.
        actor.begin_loss();
        actor
    }

    /// Of a task whose shim is known to be dead.
    pub(crate) fn lost(table: &Arc<Table>, key: &Key, ledger: Ledger, bundle: Bundle, exit: Exit) -> Actor {
        let mut actor = Actor::new(table, key, ledger, bundle, init(Some(exit)));
        actor.phase = Phase::Lost;
        actor.report_known_exit();
        actor
    }

    /// Runs until the task is deleted, or the daemon lets go of it.
    async fn run(mut self, mut queue: mpsc::Receiver<(Request, Option<marks::Trace>)>) {
        loop {
            let conn = if self.phase == Phase::Live { self.conn.clone() } else { None };
            let next = tokio::select! {
                request = queue.recv() => match request {
                    Some((request, trace)) => marks::within(trace, || self.on_request(request)),
                    None => return,
                },
                Some(done) = self.jobs.join_next(), if !self.jobs.is_empty() => match done {
                    Ok(done) => self.on_done(done),
                    Err(error) => self.on_broken(&error),
                },
                () = lost(conn) => {
                    self.begin_loss();
                    ControlFlow::Continue(())
                }
            };
            if next.is_break() {
                return;
            }
        }
    }

    fn on_request(&mut self, request: Request) -> ControlFlow<()> {
        match request {
            Request::Call { call, reply } => self.on_call(call, reply),
            Request::Wait { exec_id, reply } => self.on_wait(exec_id, reply),
            Request::Delete { reply } => self.on_delete(reply),
            Request::Look { reply } => {
                let _ = reply.send(self.describe("").map(|known| self.doubted(known)));
            }
            Request::EndShim { reply } => self.on_end_shim(reply),
            Request::Tell { reply } => {
                let _ = reply.send(Ok(self.tell()));
            }
            Request::Told(told) => self.on_told(told),
        }
        ControlFlow::Continue(())
    }

    fn on_done(&mut self, done: Done) -> ControlFlow<()> {
        match done {
            Done::Answered(answered) => {
                let (number, call, result, reply) = *answered;
                self.calls.end(number);
                self.on_answer(&call, result, reply);
            }
            Done::Identified(result) => self.on_identified(result),
            Done::ShimPid(result) => self.shim_pid = result.ok().or(self.shim_pid),
            Done::Answers(result) => self.on_answers(result),
            Done::ShimEnded => {}
            Done::Ended { exec_id, pid, result } => self.on_ended(&exec_id, pid, result),
            Done::Loss(loss) => self.on_loss(loss),
            Done::Deleted(result) => return self.on_deleted(result),
            Done::Noted => {
                self.notes = self.notes.saturating_sub(1);
                self.settle_if_due();
                self.go_on_deleting();
            }
        }
        ControlFlow::Continue(())
    }

    /// A job panicked: a defect, which must not take the task along.
    fn on_broken(&mut self, error: &tokio::task::JoinError) -> ControlFlow<()> {
        tracing::error!(namespace = %self.key.0, id = %self.key.1, %error, "a job of a task broke");
        ControlFlow::Continue(())
    }

    fn forget_exec(&mut self, exec_id: &str) {
        self.ledger.forget(exec_id);
        if let Some(mut process) = self.procs.remove(exec_id) {
            process.fail_waiting(|| no_process(exec_id));
        }
    }

    fn on_told(&mut self, told: Told) {
        match told {
            Told::Exited { exec_id, pid, status, at } => self.on_exit_event(&exec_id, pid, status, at),
            Told::Paused => self.set_init_status(Status::Paused),
            Told::Resumed => self.set_init_status(Status::Running),
        }
    }

    fn set_init_status(&mut self, status: Status) {
        if let Some(init) = self.procs.get_mut("") {
            init.set_status(status);
        }
    }

    fn on_identified(&mut self, result: Result<(Seen, u32)>) {
        match result {
            Ok((seen, shim_pid)) => {
                self.shim_pid = Some(shim_pid);
                self.retries = 0;
                if let Some(init) = self.procs.get_mut("") {
                    init.take(seen);
                }
                self.report_known_exit();
                self.watch_all();
            }
            Err(error) if error.is_not_found() => return self.begin_reap(),
            Err(error) if error.kind() == Kind::Unimplemented && self.bootstrap.version == 3 => {
                self.bootstrap.version = 2;
                return self.begin_loss();
            }
            // Seen as a lost connection.
            Err(error) if error.kind() == Kind::Unavailable => return,
            Err(error) => {
                tracing::warn!(id = %self.key.1, error = %error.chain(), "ask a restored shim for its task");
                self.watch_all();
            }
        }
        self.settle();
    }

    /// It is known now how the task is.
    fn settle(&mut self) {
        self.known = true;
        self.settle_if_due();
    }

    /// Whoever opens the tasks hears of it once what was reported is also written down.
    fn settle_if_due(&mut self) {
        if !self.known || self.notes > 0 {
            return;
        }
        if let Some(settled) = self.settled.take() {
            let _ = settled.send(());
        }
    }

    fn describe(&self, exec_id: &str) -> Result<Process> {
        let process = self.procs.get(exec_id).ok_or_else(|| no_process(exec_id))?;
        Ok(process.describe(&self.key.1, exec_id, self.bundle.path()))
    }

    /// What is known, while the shim does not say more.
    fn doubted(&self, known: Process) -> Process {
        let hangs = self.conn.as_ref().is_some_and(|conn| conn.hangs());
        let status = if hangs && known.exit.is_none() { Status::Unknown } else { known.status };
        Process { status, ..known }
    }

    fn init_exit(&self) -> Option<Exit> {
        self.procs.get("").and_then(Proc::exit)
    }
}

/// Init as an earlier daemon left it.
fn init(reported: Option<Exit>) -> Proc {
    let Some(exit) = reported else { return Proc::unknown() };
    let mut init = Proc::new(exit.pid, Status::Stopped, Io::default());
    init.ended(exit.status, exit.at);
    init
}

fn open_log(bundle: &Bundle, key: &Key) -> Option<ShimLog> {
    match ShimLog::open(&bundle.log(), &key.0, &key.1) {
        Ok(log) => Some(log),
        Err(error) => {
            tracing::warn!(id = %key.1, error = %error.chain(), "a shim's log is lost");
            None
        }
    }
}

/// Resolves when the connection is over; never without one.
async fn lost(conn: Option<Arc<ShimConn>>) {
    match conn {
        Some(conn) => conn.closed().await,
        None => std::future::pending().await,
    }
}

/// No such process, in the words of containerd's shim.
fn no_process(exec_id: &str) -> Error {
    Error::not_found(format!("process does not exist {exec_id}: not found"))
}
