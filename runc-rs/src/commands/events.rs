//! `events`: what a container uses, again and again, and when it ran out of memory.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Serialize;

use super::units;
use crate::cgroup::{Manager, OomNotice, OomWatch, Stats};
use crate::cli::{Arity, Flag, Global, Matches, Verb};
use crate::error::{Context, Error, Result};
use crate::state::{Container, Status};
use crate::{log, out};

/// The verb.
pub const VERB: Verb = Verb {
    name: "events",
    args: "<container-id>",
    about: "display container events such as OOM notifications, cpu, memory, and IO usage statistics",
    flags: &[
        Flag::value("interval", None, "value", "set the stats collection interval (default: 5s)")
            .that_fits(|text| units::duration(text.strip_prefix('-').unwrap_or(text)).is_some()),
        Flag::switch("stats", None, "display the container's stats then exit"),
    ],
    arity: Arity::Exact(1),
    flags_stop: false,
    run,
};

/// One line of output.
#[derive(Serialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Stats>,
}

fn run(global: &Global, matches: &Matches) -> Result<i32> {
    let container = Container::load(&global.root, matches.id()?)?;
    let interval = interval(matches.value("interval").unwrap_or("5s"))?;
    let id = container.state.id.as_str();
    if container.status()? == Status::Stopped {
        return Err(Error::new(format!("container with id {id} is not running")));
    }
    let cgroup = container.cgroup()?;
    if matches.flag("stats") {
        print_stats(id, &*cgroup)?;
    } else {
        let mut watch = cgroup.oom_watch()?;
        follow(id, &*cgroup, &mut *watch, interval)?;
    }
    Ok(0)
}

fn interval(text: &str) -> Result<Duration> {
    let usage = || Error::usage(format!("invalid value {text:?} for flag -interval: parse error"));
    match text.strip_prefix('-') {
        Some(rest) if units::duration(rest).is_some() => {}
        Some(_) => return Err(usage()),
        None => {
            let interval = units::duration(text).ok_or_else(usage)?;
            if !interval.is_zero() {
                return Ok(interval);
            }
        }
    }
    Err(Error::new("duration interval must be greater than 0"))
}

/// Prints until the cgroup is gone.
fn follow(id: &str, cgroup: &dyn Manager, watch: &mut dyn OomWatch, interval: Duration) -> Result<()> {
    let mut next = Instant::now() + interval;
    loop {
        let left = next.saturating_duration_since(Instant::now());
        if left.is_zero() {
            next += interval;
            if !cgroup.exists() {
                return Ok(());
            }
            if let Err(e) = print_stats(id, cgroup) {
                log::error(e.to_string());
            }
            continue;
        }
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        let ready = match poll(&mut [PollFd::new(&watch.as_fd(), PollFlags::IN)], Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => 0,
            other => other.context("poll")?,
        };
        match if ready == 0 { OomNotice::Nothing } else { watch.read()? } {
            OomNotice::Oom => print(&Event { kind: "oom", id, data: None })?,
            OomNotice::Nothing => {}
            OomNotice::Gone => return Ok(()),
        }
    }
}

fn print_stats(id: &str, cgroup: &dyn Manager) -> Result<()> {
    print(&Event { kind: "stats", id, data: Some(cgroup.stats()?) })
}

fn print(event: &Event<'_>) -> Result<()> {
    out::line(&serde_json::to_string(event).map_err(|e| Error::new(e.to_string()))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals() {
        assert_eq!(interval("1m").unwrap(), Duration::from_secs(60));
        for text in ["0", "0s", "-5s"] {
            assert_eq!(interval(text).unwrap_err().to_string(), "duration interval must be greater than 0");
        }
        assert!(matches!(interval("often"), Err(Error::Usage(_))));
    }

    #[test]
    fn lines_have_runcs_keys() {
        let line = |data| serde_json::to_string(&Event { kind: "oom", id: "c", data }).unwrap();
        assert_eq!(line(None), r#"{"type":"oom","id":"c"}"#);
        assert!(
            line(Some(Stats::default())).starts_with(r#"{"type":"oom","id":"c","data":{"cpu":{"usage":"#)
        );
    }
}
