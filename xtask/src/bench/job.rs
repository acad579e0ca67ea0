//! What a [worker](super::worker) is asked to run, and what it answers: one JSON document a line, either way.

use std::process::Command;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One program, run to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The program and its arguments.
    pub words: Vec<String>,
    /// What is put into its environment.
    pub env: Vec<(String, String)>,
    /// It may end with an error: `ctr tasks rm --force` does, when what it killed did.
    pub may_fail: bool,
}

/// Lanes run at the same time, the steps of a lane one after another. A lane ends at the first step that fails.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Each lane's steps.
    pub lanes: Vec<Vec<Step>>,
}

/// How a job went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// From before the first step was started until the last had ended.
    pub nanos: u64,
    /// Each failed step, with what it said.
    pub failures: Vec<String>,
    /// What the lanes' programs wrote to stdout and stderr, at most [`KEPT`] bytes of each lane.
    pub said: Vec<String>,
}

/// How much of a lane's output is kept, in bytes.
pub const KEPT: u64 = 1 << 20;

impl Step {
    /// What a command line would run.
    pub fn of(command: &Command) -> Step {
        let text = |word: &std::ffi::OsStr| word.to_string_lossy().into_owned();
        let words = std::iter::once(command.get_program()).chain(command.get_args()).map(text).collect();
        let env = command.get_envs().filter_map(|(key, value)| Some((text(key), text(value?)))).collect();
        Step { words, env, may_fail: false }
    }

    /// A program with arguments.
    pub fn new(program: impl Into<String>, args: &[&str]) -> Step {
        Step { words: vec![program.into()], env: Vec::new(), may_fail: false }.with(args)
    }

    /// The same with more arguments.
    pub fn with(mut self, args: &[&str]) -> Step {
        self.words.extend(args.iter().map(|word| (*word).to_owned()));
        self
    }

    /// The same, whose failure is none.
    pub fn may_fail(mut self) -> Step {
        self.may_fail = true;
        self
    }
}

impl Job {
    /// One after another.
    pub fn in_order(steps: Vec<Step>) -> Job {
        Job { lanes: vec![steps] }
    }

    /// Each in a lane of its own.
    pub fn at_once(lanes: Vec<Vec<Step>>) -> Job {
        Job { lanes }
    }

    /// Dealt out to so many lanes in turn, each with all its steps in order.
    pub fn dealt(parts: Vec<Vec<Step>>, lanes: usize) -> Job {
        let mut dealt = vec![Vec::new(); lanes.max(1)];
        for (number, part) in parts.into_iter().enumerate() {
            let lane = number % dealt.len();
            dealt[lane].extend(part);
        }
        Job { lanes: dealt }
    }
}

impl Answer {
    /// How long it took.
    pub fn wall(&self) -> Duration {
        Duration::from_nanos(self.nanos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_is_kept_with_its_environment() {
        let mut command = Command::new("rctl");
        command.env("A", "b").args(["run", "x"]);
        let step = Step::of(&command).with(&["y"]);
        assert_eq!(step.words, ["rctl", "run", "x", "y"]);
        assert_eq!(step.env, [("A".to_owned(), "b".to_owned())]);
    }

    #[test]
    fn parts_are_dealt_in_turn_and_stay_whole() {
        let part = |name: &str| vec![Step::new(name, &["1"]), Step::new(name, &["2"])];
        let job = Job::dealt(vec![part("a"), part("b"), part("c")], 2);
        assert_eq!(job.lanes.iter().map(Vec::len).collect::<Vec<_>>(), [4, 2]);
        assert_eq!(job.lanes[0][2], Step::new("c", &["1"]));
    }
}
