//! What must be true: how a container fares, and what becomes of it by each verb.

/// The code with which the container's program ends when it is asked to.
pub const ASKED: u32 = 3;
/// The code of one that is killed.
pub const KILLED: u32 = 137;

/// How a container fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// There is none.
    Absent,
    /// Never started.
    Created,
    /// Runs.
    Running,
    /// Frozen.
    Paused,
    /// Ended, with this code.
    Exited(u32),
}

/// What is done to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Create,
    Run,
    /// As `Run`, and it is removed when it ends.
    RunRm,
    Start,
    Stop,
    Restart,
    Kill,
    Term,
    Pause,
    Unpause,
    Exec,
    Logs,
    Top,
    Rm,
    RmForce,
    /// Not a verb of rctl: its shim is killed.
    ShimKill,
    /// Its shim is stopped for a moment.
    ShimHang,
    /// It is removed by force while somebody else starts, stops, kills or enters it.
    Race,
}

/// All of them, those oftener that bring something about.
pub const VERBS: &[Verb] = &[
    Verb::Create,
    Verb::Run,
    Verb::Run,
    Verb::Run,
    Verb::RunRm,
    Verb::Start,
    Verb::Start,
    Verb::Stop,
    Verb::Restart,
    Verb::Kill,
    Verb::Term,
    Verb::Pause,
    Verb::Unpause,
    Verb::Exec,
    Verb::Exec,
    Verb::Logs,
    Verb::Top,
    Verb::Rm,
    Verb::RmForce,
    Verb::ShimKill,
    Verb::ShimHang,
    Verb::Race,
];

impl Verb {
    /// What becomes of a container; `None` where the verb is refused, and changes nothing.
    pub fn of(self, state: State) -> Option<State> {
        use State::{Absent, Created, Exited, Paused, Running};
        match (self, state) {
            (Verb::Create, Absent) => Some(Created),
            (Verb::Run | Verb::RunRm, Absent) => Some(Running),
            (Verb::Create | Verb::Run | Verb::RunRm, _) => None,
            (_, Absent) => None,
            (Verb::Start, Created | Exited(_) | Running) => Some(Running),
            (Verb::Start, Paused) => None,
            (Verb::Stop, Running | Paused) => Some(Exited(ASKED)),
            (Verb::Stop, other) => Some(other),
            (Verb::Restart, _) => Some(Running),
            (Verb::Kill | Verb::ShimKill, Running | Paused) => Some(Exited(KILLED)),
            (Verb::Term, Running) => Some(Exited(ASKED)),
            // It would end when it is thawed, at whatever time that is.
            (Verb::Term, Paused) => None,
            (Verb::Kill | Verb::Term, _) => None,
            (Verb::ShimKill, other) => Some(other),
            (Verb::Pause, Running) => Some(Paused),
            (Verb::Unpause, Paused) => Some(Running),
            (Verb::Exec | Verb::Top, Running) => Some(Running),
            (Verb::Pause | Verb::Unpause | Verb::Exec, _) => None,
            (Verb::Top, Paused) => Some(Paused),
            (Verb::Top, _) => None,
            (Verb::Rm, Created | Exited(_)) => Some(Absent),
            (Verb::Rm, _) => None,
            (Verb::RmForce | Verb::Race, _) => Some(Absent),
            (Verb::Logs | Verb::ShimHang, other) => Some(other),
        }
    }

    /// Is it of any use to try it in this state?
    pub fn fits(self, state: State) -> bool {
        use State::{Paused, Running};
        match self {
            Verb::Term => state != Paused,
            Verb::ShimKill | Verb::ShimHang => matches!(state, Running | Paused),
            Verb::Race => state != State::Absent,
            _ => true,
        }
    }

    /// What one may find when the daemon was killed in the middle of it.
    pub fn cut(self, state: State) -> Vec<State> {
        let mut found = vec![state];
        found.extend(self.of(state));
        match self {
            // Made, and not started yet.
            Verb::Run | Verb::RunRm => found.push(State::Created),
            // Stopped, and not started yet.
            Verb::Restart => found.push(State::Exited(ASKED)),
            // Stopped, and not removed yet.
            Verb::RmForce => found.push(State::Exited(KILLED)),
            Verb::Race => {
                found.extend([State::Running, State::Paused, State::Exited(KILLED), State::Exited(ASKED)])
            }
            _ => {}
        }
        found
    }

    /// May an executor be killed in the middle of it? It must be known by then whose.
    pub fn calls_executor(self) -> bool {
        use Verb::{Create, Logs, Race, Run, RunRm, ShimHang, ShimKill};
        !matches!(self, Create | Run | RunRm | Logs | ShimKill | ShimHang | Race)
    }

    /// May something of it still be on its way when the next daemon answers? Signals are.
    pub fn lingers(self) -> bool {
        use Verb::{Kill, Race, Restart, RmForce, ShimKill, Stop, Term};
        matches!(self, Stop | Restart | Kill | Term | RmForce | ShimKill | Race)
    }
}
