//! The memory of daemon and shim: before anything was done, after the rows before this one, and for each container that runs.

use anyhow::{Context, Result};

use super::client::Client;
use super::job::Job;
use super::report::{self, Report};
use super::resident::{self, Resident, megabytes};
use super::stacks::{PEER, RCTL, Stacks};
use super::timing::{Contender, in_turns};
use super::{Plan, SLEEP};

/// Containers that run while their shims are looked at.
const SHIMS: usize = 10;

/// Reads, and makes the table.
pub fn section(plan: &Plan, stacks: &Stacks, report: &mut Report) -> Result<()> {
    let ours = stacks.client(RCTL).context("rctl")?;
    let peer = stacks.client(PEER).context("ctr")?;
    // So that there is a run before this row, also when it is the only one.
    let mut both = [ours, peer]
        .map(|client| Contender::new(client, |_| Job::in_order(vec![client.run_and_remove("memory")])));
    in_turns(plan.rounds, &mut both)?;
    let daemons = || -> Result<[Resident; 2]> {
        resident::calm();
        Ok([Resident::of(stacks.ours.pid().context("runtimed runs")?)?, Resident::of(stacks.peer.pid())?])
    };
    let after = daemons()?;
    let shims = [shims(stacks, ours)?, shims(stacks, peer)?];
    in_turns(plan.rounds, &mut both)?;
    let again = daemons()?;
    report.part("Memory");
    let mut rows = Vec::new();
    row(&mut rows, "daemon, idle after its start", stacks.idle);
    row(&mut rows, "daemon, after the rows above", after);
    row(&mut rows, "shim, of one running container", shims);
    let grown = [0, 1].map(|who| per(again[who] - after[who], plan.rounds + 1 + SHIMS));
    row(&mut rows, "daemon's growth for each container that came and went", grown);
    report.table(
        &["", "runtimed RSS", "containerd RSS", "ratio", "runtimed PSS", "containerd PSS", "ratio"],
        &rows,
    );
    report.goal("shim's RSS", 2.0, " MB", megabytes(shims[0].rss));
    report.goal("daemon's RSS, idle", 12.0, " MB", megabytes(stacks.idle[0].rss));
    report.goal("daemon's RSS after the run", 25.0, " MB", megabytes(again[0].rss));
    Ok(())
}

/// What one shim has, on average of some.
fn shims(stacks: &Stacks, client: &Client) -> Result<Resident> {
    let ids: Vec<String> = (0..SHIMS).map(|number| format!("memory-{number}")).collect();
    let busy = |pids: Vec<u32>| pids.into_iter().filter(|pid| !stands_by(*pid)).collect::<Vec<_>>();
    let before = busy(stacks.daemon_and_shims(&client.tree)?);
    client.ok(ids.iter().map(|id| client.run_detached(id, SLEEP)).collect())?;
    client.tree.used_at_rest()?;
    resident::calm();
    let mut shims = busy(stacks.daemon_and_shims(&client.tree)?);
    shims.retain(|pid| !before.contains(pid));
    let sum = Resident::of_all(&shims);
    client.ok(ids.iter().flat_map(|id| client.remove(id)).collect())?;
    anyhow::ensure!(shims.len() == SHIMS, "{}: {} shims for {SHIMS} containers", client.name, shims.len());
    Ok(per(sum, SHIMS))
}

/// A shim that waits for the next container is no container's.
fn stands_by(pid: u32) -> bool {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0).nth(1) == Some(b"--stand-by")
}

fn per(sum: Resident, count: usize) -> Resident {
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    Resident { rss: sum.rss / count, pss: sum.pss / count }
}

fn row(rows: &mut Vec<Vec<String>>, what: &str, [ours, peer]: [Resident; 2]) {
    let kib = |value: i64| format!("{value} KiB");
    rows.push(vec![
        what.to_owned(),
        kib(ours.rss),
        kib(peer.rss),
        report::ratio(ours.rss as f64, peer.rss as f64),
        kib(ours.pss),
        kib(peer.pss),
        report::ratio(ours.pss as f64, peer.pss as f64),
    ]);
}
