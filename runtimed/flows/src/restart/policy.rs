//! What the labels ask for, given how the container is. Pure; the rules are containerd's (core/runtime/restart).

use container::RESTART_STATUS;
use errors::{Error, Result};
use ids::Labels;
use task::Status;

/// no, always, on-failure[:N] or unless-stopped; none means always.
const POLICY: &str = "containerd.io/restart.policy";
/// How often it was started again.
pub(super) const COUNT: &str = "containerd.io/restart.count";
/// Whoever stopped it meant it.
const EXPLICITLY_STOPPED: &str = "containerd.io/restart.explicitly-stopped";

/// How the task ended that is being replaced: there while that is under way, and so found by a daemon that comes after one that died at it.
pub(super) const AFTER: &str = "runtimed.io/restart.after";

/// How a container is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    /// Its task's state; `None` without a task.
    pub(super) status: Option<Status>,
    /// How its first process ended, if it did.
    pub(super) exit: Option<u32>,
    /// It was made a moment ago.
    pub(super) is_new: bool,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing.
    None,
    /// Start it; its label then says that this was the `count`th time. It had ended with `exit`.
    Start { count: u64, exit: u32 },
    /// End it.
    Stop,
}

/// # Errors
/// `InvalidArgument` for a policy or a count that is none.
pub(super) fn decide(labels: &Labels, seen: Seen) -> Result<Change> {
    use Status::{Created, Paused, Pausing, Running, Stopped, Unknown};
    match (label(labels, RESTART_STATUS), seen.status) {
        // One whose shim does not answer may well run.
        ("running", Some(Running | Paused | Pausing | Unknown)) => Ok(Change::None),
        ("running", None | Some(Created)) if seen.is_new && label(labels, AFTER).is_empty() => {
            Ok(Change::None)
        }
        ("running", None | Some(Created | Stopped)) => {
            let begun = after(labels)?;
            let exit = seen.exit.or(begun).unwrap_or(0);
            // One that was begun is in the count.
            let done = count(labels)?.saturating_sub(u64::from(begun.is_some()));
            Ok(if wants(labels, exit, done)? {
                Change::Start { count: done + 1, exit }
            } else {
                Change::None
            })
        }
        ("stopped", Some(Created | Running | Paused | Pausing | Unknown)) => Ok(Change::Stop),
        _ => Ok(Change::None),
    }
}

/// Does the policy want one that has ended with `exit`, and was started again `done` times, to be started?
fn wants(labels: &Labels, exit: u32, done: u64) -> Result<bool> {
    let policy = label(labels, POLICY);
    let (name, most) = policy.split_once(':').map_or((policy, None), |(name, most)| (name, Some(most)));
    match (name, most) {
        ("" | "always", None) => Ok(true),
        ("no", None) => Ok(false),
        ("unless-stopped", None) => {
            // As Go reads a truth.
            let stopped = label(labels, EXPLICITLY_STOPPED);
            Ok(!["1", "t", "T", "TRUE", "true", "True"].contains(&stopped))
        }
        ("on-failure", most) => {
            let most = most.map_or(Ok(0), |most| number(POLICY, policy, most))?;
            Ok(exit != 0 && (most == 0 || done < most))
        }
        _ => Err(Error::invalid(format!("label {POLICY}: restart policy {policy:?} not supported"))),
    }
}

fn count(labels: &Labels) -> Result<u64> {
    match label(labels, COUNT) {
        "" => Ok(0),
        text => number(COUNT, text, text),
    }
}

/// How the task had ended whose replacement was begun, and not finished.
fn after(labels: &Labels) -> Result<Option<u32>> {
    match label(labels, AFTER) {
        "" => Ok(None),
        text => text
            .parse()
            .map(Some)
            .map_err(|_| Error::invalid(format!("label {AFTER}: {text:?} is no exit code"))),
    }
}

fn number(key: &str, value: &str, text: &str) -> Result<u64> {
    text.parse().map_err(|_| Error::invalid(format!("label {key}: {value:?} has no number in it")))
}

fn label<'a>(labels: &'a Labels, key: &str) -> &'a str {
    labels.get(key).map_or("", String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decided(labels: &[(&str, &str)], status: Option<Status>, exit: Option<u32>) -> Change {
        let labels = labels.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
        decide(&labels, Seen { status, exit, is_new: false }).unwrap()
    }

    #[test]
    fn what_has_ended_is_started_by_its_policy() {
        let running = (RESTART_STATUS, "running");
        for (policy, exit, starts) in [
            ("", 0, true),
            ("always", 1, true),
            ("no", 1, false),
            ("unless-stopped", 0, true),
            ("on-failure", 0, false),
            ("on-failure", 1, true),
            ("on-failure:3", 1, true),
            ("on-failure:2", 1, false),
        ] {
            let labels = [running, (POLICY, policy), (COUNT, "2")];
            let expected = if starts { Change::Start { count: 3, exit } } else { Change::None };
            assert_eq!(decided(&labels, Some(Status::Stopped), Some(exit)), expected, "{policy} {exit}");
        }
        let meant = [running, (POLICY, "unless-stopped"), (EXPLICITLY_STOPPED, "true")];
        assert_eq!(decided(&meant, Some(Status::Stopped), Some(0)), Change::None);
    }

    #[test]
    fn what_runs_or_is_paused_stays() {
        for status in [Status::Running, Status::Paused, Status::Pausing, Status::Unknown] {
            assert_eq!(decided(&[(RESTART_STATUS, "running")], Some(status), None), Change::None);
        }
    }

    #[test]
    fn after_a_reboot_there_is_no_task_and_it_is_started() {
        let labels = [(RESTART_STATUS, "running")];
        assert_eq!(decided(&labels, None, None), Change::Start { count: 1, exit: 0 });
        let labels = [(RESTART_STATUS.to_owned(), "running".to_owned())].into();
        for status in [None, Some(Status::Created)] {
            let seen = Seen { status, exit: None, is_new: true };
            assert_eq!(decide(&labels, seen).unwrap(), Change::None, "its client is about to start it");
        }
    }

    #[test]
    fn what_was_begun_is_gone_on_with_and_counts_once() {
        let labels = [(RESTART_STATUS, "running"), (POLICY, "on-failure:2"), (COUNT, "2"), (AFTER, "7")];
        for status in [None, Some(Status::Created)] {
            assert_eq!(decided(&labels, status, None), Change::Start { count: 2, exit: 7 });
        }
        assert_eq!(decided(&labels, Some(Status::Stopped), Some(1)), Change::Start { count: 2, exit: 1 });
        assert_eq!(decided(&labels, Some(Status::Running), None), Change::None);
        let young = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let seen = Seen { status: None, exit: None, is_new: true };
        assert_eq!(decide(&young, seen).unwrap(), Change::Start { count: 2, exit: 7 });
        // Nobody has begun: it was deleted by who meant it.
        assert_eq!(decided(&labels[..3], None, None), Change::None);
    }

    #[test]
    fn what_is_to_be_stopped_is() {
        let stopped = [(RESTART_STATUS, "stopped")];
        assert_eq!(decided(&stopped, Some(Status::Running), None), Change::Stop);
        assert_eq!(decided(&stopped, Some(Status::Stopped), Some(0)), Change::None);
        assert_eq!(decided(&stopped, None, None), Change::None);
        assert_eq!(decided(&[(RESTART_STATUS, "elsewhere")], None, None), Change::None);
    }

    #[test]
    fn labels_that_mean_nothing_are_named() {
        let none = [
            ("sometimes", "", ""),
            ("always:3", "", ""),
            ("on-failure:x", "", ""),
            ("", "many", ""),
            ("", "", "-1"),
        ];
        for (policy, count, after) in none {
            let labels = [(RESTART_STATUS, "running"), (POLICY, policy), (COUNT, count), (AFTER, after)];
            let labels = labels.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
            let seen = Seen { status: Some(Status::Stopped), exit: Some(1), is_new: false };
            let error = decide(&labels, seen).unwrap_err();
            assert!(
                error.message().starts_with("label ") && error.message().contains(".io/restart."),
                "{error}"
            );
        }
    }
}
