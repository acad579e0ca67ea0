//! `kill`: a signal for init, or for every process.

use std::str::FromStr;

use nix::sys::signal::Signal;

use crate::cli::{Arity, Flag, Global, Matches, Verb};
use crate::error::{Context, Error, Result};
use crate::log;
use crate::process::{Handle, in_user_namespace};
use crate::state::Container;

/// The verb.
pub const VERB: Verb = Verb {
    name: "kill",
    args: "<container-id> [signal]",
    about: "kill sends the specified signal (default: SIGTERM) to the container's init process",
    // Obsolete in runc, and sent all the same: it forgives a container that does not run, and changes nothing else.
    flags: &[Flag::switch("all", Some("a"), "")],
    arity: Arity::Range(1, 2),
    flags_stop: false,
    run,
};

const SIGRTMIN: i32 = 34;
const SIGRTMAX: i32 = 64;

fn run(global: &Global, matches: &Matches) -> Result<i32> {
    let _step = marks::step("runc-rs.kill.send")?;
    let container = Container::load(&global.root, matches.id()?)?;
    let given = matches.args().get(1).filter(|signal| !signal.is_empty());
    let signal = parse(given.map_or("SIGTERM", String::as_str))?;
    send(&container, signal, matches.flag("all"))?;
    marks::passed("runc-rs.kill.sent");
    Ok(0)
}

fn send(container: &Container, signal: i32, all: bool) -> Result<()> {
    let own_pids = container.state.config.namespaces.iter().any(|n| n.kind == "NEWPID" && n.path.is_empty());
    // In a pid namespace of its own, the others end with init; elsewhere they are told as well, though init may have ended.
    let sent = match signal == Signal::SIGKILL as i32 && !own_pids {
        true => kill_everybody(container),
        false => signal_init(container, signal),
    };
    match sent {
        Err(e) if all && e.is_not_running() => Ok(()),
        sent => sent,
    }
}

fn kill_everybody(container: &Container) -> Result<()> {
    match container.cgroup().and_then(|cgroup| Ok(cgroup.kill_all(Signal::SIGKILL as i32)?)) {
        Err(e) if container.state.rootless || in_user_namespace() => {
            log::warn(format!("failed to kill all processes, possibly due to lack of cgroup: {e}"));
            signal_init(container, Signal::SIGKILL as i32)
        }
        Err(_) if !container.alive() && !container.cgroup()?.exists() => Err(Error::NotRunning),
        sent => sent,
    }
    .context("unable to kill all processes")
}

fn signal_init(container: &Container, signal: i32) -> Result<()> {
    let state = &container.state;
    let init = Handle::of(state.init_process_pid, state.init_process_start).ok_or(Error::NotRunning)?;
    match init.signal(signal) {
        Err(e) if e.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => Err(Error::NotRunning),
        other => {
            other.map_err(|e| Error::call(format_args!("unable to signal init with signal {signal}"), e))
        }
    }?;
    // A frozen process takes its death when it is thawed; version 2 does it by itself.
    if signal == Signal::SIGKILL as i32 {
        let cgroup = container.cgroup()?;
        if cgroup.frozen().unwrap_or(false) {
            cgroup.freeze(false)?;
        }
    }
    Ok(())
}

/// A signal by number, or by name with or without `SIG`.
fn parse(text: &str) -> Result<i32> {
    let unknown = || Error::new(format!("unknown signal {text:?}"));
    if let Ok(number) = text.parse::<i32>() {
        return if (0..=SIGRTMAX).contains(&number) { Ok(number) } else { Err(unknown()) };
    }
    let upper = text.to_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(offset) = name.strip_prefix("RTMIN") {
        return real_time(SIGRTMIN, offset).ok_or_else(unknown);
    }
    if let Some(offset) = name.strip_prefix("RTMAX") {
        return real_time(SIGRTMAX, offset).ok_or_else(unknown);
    }
    let name = match name {
        "CLD" => "CHLD",
        "POLL" => "IO",
        "IOT" => "ABRT",
        "UNUSED" => "SYS",
        other => other,
    };
    Signal::from_str(&format!("SIG{name}")).map(|s| s as i32).map_err(|_| unknown())
}

fn real_time(base: i32, offset: &str) -> Option<i32> {
    let offset: i32 = if offset.is_empty() { 0 } else { offset.parse().ok()? };
    Some(base + offset).filter(|n| (SIGRTMIN..=SIGRTMAX).contains(n))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_by_every_name() {
        for (text, number) in [
            ("9", 9),
            ("KILL", 9),
            ("SIGKILL", 9),
            ("sigterm", 15),
            ("USR1", 10),
            ("0", 0),
            ("RTMIN+1", 35),
            ("SIGRTMAX-2", 62),
            ("CLD", 17),
            ("64", 64),
        ] {
            assert_eq!(parse(text).unwrap(), number, "{text}");
        }
        for bad in ["65", "-1", "SIGNO", "", "RTMIN+99"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
