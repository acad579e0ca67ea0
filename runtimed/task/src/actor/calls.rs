//! Calls to the shim, and what their answers change.

use errors::{Error, Kind, Result};

use super::{Actor, CALLS, Done, Phase};
use crate::call::{Answer, Call};
use crate::process::{Proc, Reply, Seen};
use crate::state;
use crate::types::{Process, Status};

impl Actor {
    /// Answers from what is known if that is certain; otherwise asks the shim, as a job.
    pub(super) fn on_call(&mut self, call: Call, reply: Reply<Answer>) {
        if let Some(answer) = self.answer_early(&call) {
            let _ = reply.send(answer);
            return;
        }
        if let (Call::Start { .. }, Some(process)) = (&call, self.procs.get_mut(call.exec_id())) {
            process.starting = true;
        }
        let conn = self.conn.clone();
        let id = self.key.1.clone();
        let number = self.calls.begin(call.name());
        self.jobs.spawn(marks::carry(async move {
            let result = match conn {
                Some(conn) => conn.call(&call).await,
                None => Err(Error::unavailable(format!("shim of task {id} does not answer: ttrpc: closed"))),
            };
            Done::Answered(Box::new((number, call, result, reply)))
        }));
    }

    /// The answer to what the shim need not, or cannot, be asked.
    fn answer_early(&mut self, call: &Call) -> Option<Result<Answer>> {
        let exec_id = call.exec_id();
        let status = self.procs.get(exec_id).map_or(Status::Unknown, Proc::status);
        if let Err(error) = state::check(call, status, !exec_id.is_empty()) {
            return Some(Err(error));
        }
        match call {
            // Nothing more can happen to it.
            Call::State { .. } if status == Status::Stopped => {
                Some(self.describe(exec_id).map(Answer::Process))
            }
            _ if self.phase == Phase::Lost => Some(self.answer_lost(call)),
            // It was asked already, and is listened to for as long as it takes: more would only fill its socket.
            _ if self.asking && self.conn.as_ref().is_some_and(|conn| conn.hangs()) => {
                Some(self.answer_hung(call))
            }
            _ if self.calls.count() >= CALLS => {
                let id = &self.key.1;
                let text = format!("shim of task {id}: {CALLS} calls are unanswered");
                Some(Err(Error::unavailable(text)))
            }
            _ => None,
        }
    }

    /// Removes the images of what has been restored. What stays goes with the bundle.
    fn drop_checkpoint(&mut self) {
        let (bundle, id) = (self.bundle.clone(), self.key.1.clone());
        self.notes += 1;
        self.jobs.spawn_blocking(move || {
            if let Err(error) = bundle.drop_checkpoint() {
                tracing::warn!(%id, error = %error.chain(), "remove the images of a restored task");
            }
            Done::Noted
        });
    }

    pub(super) fn on_answer(&mut self, call: &Call, result: Result<Answer>, reply: Reply<Answer>) {
        self.ask_on();
        let exec_id = call.exec_id();
        let result = match (result, call) {
            (Ok(answer), _) => self.apply(call, exec_id, answer),
            // What is known is better than nothing, and says by its status what it is worth.
            (Err(error), Call::State { .. }) if error.kind() == Kind::DeadlineExceeded => self
                .describe(exec_id)
                .map(|known| Answer::Process(Process { status: Status::Unknown, ..known })),
            (Err(error), Call::State { .. }) if error.kind() == Kind::Unavailable => {
                self.describe(exec_id).map(Answer::Process)
            }
            (Err(error), _) => {
                let status = self.procs.get(exec_id).map_or(Status::Unknown, Proc::status);
                let unheard = [Kind::Unavailable, Kind::DeadlineExceeded].contains(&error.kind());
                if matches!(call, Call::Start { .. })
                    && !exec_id.is_empty()
                    && !unheard
                    && status == Status::Created
                {
                    self.procs.entry(exec_id.to_owned()).and_modify(Proc::refuse);
                }
                Err(state::refine(error, call, status, !exec_id.is_empty()))
            }
        };
        let _ = reply.send(result);
    }

    /// Answers in place of a shim that hangs.
    fn answer_hung(&self, call: &Call) -> Result<Answer> {
        if let Call::State { exec_id } = call {
            let known = self.describe(exec_id)?;
            return Ok(Answer::Process(Process { status: Status::Unknown, ..known }));
        }
        let text = format!("the shim of task {} does not answer: context deadline exceeded", self.key.1);
        Err(Error::new(Kind::DeadlineExceeded, text))
    }

    /// Asks a shim that has not answered in time once more, for as long as it takes: so it is known when it goes on.
    fn ask_on(&mut self) {
        let Some(conn) = self.conn.clone().filter(|conn| conn.hangs()) else { return };
        if std::mem::replace(&mut self.asking, true) {
            return;
        }
        let id = self.key.1.clone();
        tracing::warn!(%id, "the shim does not answer; its task is unknown until it does");
        self.jobs.spawn(async move { Done::Answers(conn.identify().await) });
    }

    pub(super) fn on_answers(&mut self, result: Result<(Seen, u32)>) {
        self.asking = false;
        let Ok((seen, _)) = result else { return };
        tracing::info!(id = %self.key.1, "the shim answers again");
        if let Some(init) = self.procs.get_mut("") {
            init.take(seen);
        }
    }

    /// Takes over what a successful call has changed.
    fn apply(&mut self, call: &Call, exec_id: &str, answer: Answer) -> Result<Answer> {
        match (call, &answer) {
            (Call::Start { .. }, Answer::Pid(pid)) => {
                let process = self.procs.entry(exec_id.to_owned()).or_insert_with(Proc::unknown);
                let restored = exec_id.is_empty() && process.pid() == 0;
                process.set_pid(*pid);
                process.set_status(Status::Running);
                process.accept();
                self.watch(exec_id);
                if restored {
                    self.drop_checkpoint();
                }
            }
            (Call::Exec(exec), _) => {
                let added = exec.exec_id.as_str().to_owned();
                self.ledger.forget(&added);
                self.procs.insert(added, Proc::new(0, Status::Created, exec.io.clone()));
            }
            (Call::DeleteProcess { .. }, _) => self.forget_exec(exec_id),
            (Call::State { .. }, Answer::Seen(seen)) => {
                let process = self.procs.entry(exec_id.to_owned()).or_insert_with(Proc::unknown);
                process.take(seen.clone());
                return self.describe(exec_id).map(Answer::Process);
            }
            _ => {
                if let Some(process) = self.procs.get_mut(exec_id) {
                    process.set_status(state::after(call, process.status()));
                }
            }
        }
        Ok(answer)
    }
}
