//! Rows about one container at a time: run, exec, stop, rm; and what a client costs by itself.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::client::Client;
use super::job::Job;
use super::report::Report;
use super::stacks::{DOCKER, FLOOR, OUR_CTR, PEER, PODMAN, RCTL, Stacks};
use super::timing::{self, Contender, Samples};
use super::{Plan, SLEEP};

/// The id of the container that a row uses.
const ID: &str = "bench";
/// How long a container may take until it listens to SIGTERM.
const PATIENCE: Duration = Duration::from_secs(20);
/// SIGTERM's bit in a mask of signals.
const TERM: u64 = 1 << 14;

/// `run --rm` of a program that does nothing.
pub fn run(plan: &Plan, stacks: &Stacks, report: &mut Report) -> Result<()> {
    let who = stacks.of(&[RCTL, OUR_CTR, PEER, DOCKER, PODMAN, FLOOR]);
    let mut contenders: Vec<_> = who
        .into_iter()
        .map(|client| Contender::new(client, |_| Job::in_order(vec![client.run_and_remove(ID)])))
        .collect();
    let samples = timing::in_turns(plan.rounds, &mut contenders)?;
    report.part("A container from command to prompt");
    report.times("`run --rm` of `/bin/true`", &samples, PEER);
    report.goal_ratio("`rctl run --rm` ÷ `ctr run --rm` on containerd", 0.12, &samples, RCTL, PEER);
    report.goal_ratio("`rctl run --rm` ÷ floor", 4.0, &samples, RCTL, FLOOR);
    report.goal_ratio("`ctr run --rm`, runtimed ÷ containerd", 0.3, &samples, OUR_CTR, PEER);
    Ok(())
}

/// `exec` of a program that does nothing, in a container that runs.
pub fn exec(plan: &Plan, stacks: &Stacks, report: &mut Report) -> Result<()> {
    let who = stacks.of(&[RCTL, OUR_CTR, PEER, DOCKER, PODMAN]);
    let id = |client: &Client| format!("{ID}-{}", client.worker());
    for client in &who {
        client.ok(vec![client.run_detached(&id(client), SLEEP)])?;
    }
    let mut contenders: Vec<_> = who
        .iter()
        .map(|client| {
            Contender::new(client, move |round| {
                Job::in_order(vec![client.exec(&id(client), &format!("e{round}"))])
            })
        })
        .collect();
    let samples = timing::in_turns(plan.rounds, &mut contenders)?;
    for client in &who {
        client.ok(client.remove(&id(client)))?;
    }
    report.part("A program in a running container");
    report.times("`exec` of `/bin/true`", &samples, PEER);
    report.goal_ratio("`rctl exec` ÷ `ctr tasks exec` on containerd", 0.25, &samples, RCTL, PEER);
    report.goal_ratio("`ctr tasks exec`, runtimed ÷ containerd", 0.45, &samples, OUR_CTR, PEER);
    Ok(())
}

/// `stop` of a container that ends on SIGTERM. `ctr` has no command that waits for the end.
pub fn stop(plan: &Plan, stacks: &Stacks, report: &mut Report) -> Result<()> {
    let mut contenders: Vec<_> = stacks
        .of(&[RCTL, DOCKER, PODMAN])
        .into_iter()
        .map(|client| {
            Contender::new(client, |_| Job::in_order(client.stop(ID).into_iter().collect()))
                .before(|_| listening(client))
                .after(|_| client.ok(client.remove(ID)).map(drop))
        })
        .collect();
    let samples = timing::in_turns(plan.rounds, &mut contenders)?;
    report.part("Ending a container");
    against_last(report, "`stop`, of a container that ends on SIGTERM", &samples);
    Ok(())
}

/// The forced removal of a container that runs; for `ctr` two commands.
pub fn rm(plan: &Plan, stacks: &Stacks, report: &mut Report) -> Result<()> {
    let mut contenders: Vec<_> = stacks
        .of(&[RCTL, OUR_CTR, PEER, DOCKER, PODMAN])
        .into_iter()
        .map(|client| {
            Contender::new(client, |_| Job::in_order(client.remove(ID)))
                .before(|_| client.ok(vec![client.run_detached(ID, SLEEP)]).map(drop))
        })
        .collect();
    let samples = timing::in_turns(plan.rounds, &mut contenders)?;
    report.part("Removing a container that runs");
    report.times("`rm -f`; by `ctr`: `tasks rm --force`, `containers rm`", &samples, PEER);
    Ok(())
}

/// A client's own start, and one call.
pub fn client(plan: &Plan, stacks: &Stacks, report: &mut Report) -> Result<()> {
    let mut contenders: Vec<_> = stacks
        .of(&[RCTL, OUR_CTR, PEER, DOCKER])
        .into_iter()
        .map(|client| Contender::new(client, |_| Job::in_order(vec![client.version()])))
        .collect();
    let samples = timing::in_turns(plan.rounds, &mut contenders)?;
    report.part("A client and one call");
    report.times("`version`", &samples, PEER);
    report.goal_ratio("`rctl version` ÷ `ctr version` on containerd", 0.2, &samples, RCTL, PEER);
    Ok(())
}

fn against_last(report: &mut Report, title: &str, samples: &[Samples]) {
    let against = samples.get(1).or(samples.first()).map(|one| one.name.clone()).unwrap_or_default();
    report.times(title, samples, &against);
}

/// Starts a container whose first process ends on SIGTERM, and waits until it listens: before that it would not hear.
fn listening(client: &Client) -> Result<()> {
    let mark = format!("listening-{}", client.worker());
    let script = format!("trap 'exit 0' TERM; : {mark}; while :; do sleep 1000 & wait; done");
    client.ok(vec![client.run_detached(ID, &["sh", "-c", &script])])?;
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        if pids()?.any(|pid| hears(&pid, &mark)) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    bail!("{}: no process of its container listens to SIGTERM", client.name)
}

/// A process whose whole third argument is the script with this mark, and that catches SIGTERM. Clients have the mark on their command
/// line too, but not there.
fn hears(pid: &str, mark: &str) -> bool {
    let read = |file: &str| std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let line = read("cmdline");
    let mut words = line.split(|byte| *byte == 0);
    let shell =
        words.next().is_some_and(|word| word.ends_with(b"sh")) && words.next() == Some(b"-c".as_slice());
    let script = words.next().is_some_and(|word| String::from_utf8_lossy(word).contains(mark));
    shell && script && caught(&String::from_utf8_lossy(&read("status"))).is_some_and(|mask| mask & TERM != 0)
}

fn caught(status: &str) -> Option<u64> {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"))?;
    u64::from_str_radix(mask.trim(), 16).ok()
}

fn pids() -> Result<impl Iterator<Item = String>> {
    let entries = std::fs::read_dir("/proc").context("read /proc")?;
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    Ok(names.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_of_caught_signals_is_read() {
        let status = "Name:\tsh\nSigIgn:\t0000000000000004\nSigCgt:\t0000000000014002\n";
        assert_eq!(caught(status), Some(0x14002));
        assert!(caught(status).unwrap() & TERM != 0);
        assert_eq!(caught("Name:\tsh\n"), None);
    }
}
