//! A thousand containers that run at the same time. One stack after the other, since each fills the machine.

use anyhow::{Context, Result};

use super::client::Client;
use super::job::Job;
use super::report::{Report, ratio, shown};
use super::resident::{self, Resident, megabytes};
use super::stacks::{OUR_CTR, PEER, RCTL, Stacks};
use super::timing::{self, Contender, Cost, Samples, percentile};
use super::{Plan, restart};

/// What one stack needed, asked by one client.
struct Filled {
    started: Cost,
    listed: Samples,
    /// Daemon and shims, for each container.
    each: Resident,
    /// What the machine could give out less, for each container, in KiB: with what the kernel needs, and the container itself.
    available: i64,
    daemon: Resident,
    back: Cost,
    removed: Cost,
}

/// Fills, lists, kills, empties: by `rctl`, by `ctr` on ours, by `ctr` on containerd.
pub fn section(plan: &Plan, stacks: &mut Stacks, report: &mut Report) -> Result<()> {
    let mut one =
        |name| filled(plan, stacks, name).with_context(|| format!("{} containers, {name}", plan.containers));
    let (rctl, ctr, peer) = (one(RCTL)?, one(OUR_CTR)?, one(PEER)?);
    report.part(&format!("{} containers that run", plan.containers));
    report.table(&["", RCTL, OUR_CTR, PEER, "`rctl` ÷", "`ctr` ÷"], &rows([&rctl, &ctr, &peer]));
    let ours = [rctl.listed, ctr.listed, peer.listed];
    report.times("`tasks ls`, and what it costs the daemon", &ours, PEER);
    let times = |ours: &Cost, peer: &Cost| ours.wall.as_secs_f64() / peer.wall.as_secs_f64();
    report.goal(
        "many: started by two `rctl` ÷ by two `ctr` on containerd",
        0.2,
        "",
        times(&rctl.started, &peer.started),
    );
    report.goal(
        "many: started by two `ctr`, runtimed ÷ containerd",
        1.0 / 3.0,
        "",
        times(&ctr.started, &peer.started),
    );
    report.goal(
        "many: memory of each ÷ containerd's (PSS of daemon and shims)",
        0.5,
        "",
        rctl.each.pss as f64 / peer.each.pss as f64,
    );
    report.goal("many: daemon's RSS", 60.0, " MB", megabytes(rctl.daemon.rss.max(ctr.daemon.rss)));
    report.goal_ratio("many: `rctl tasks ls` ÷ `ctr tasks ls` on containerd", 0.3, &ours, RCTL, PEER);
    report.goal("many: back after a kill", 1.0, " s", rctl.back.wall.as_secs_f64());
    report.goal(
        "many: removed by `rctl` ÷ by `ctr` on containerd",
        0.2,
        "",
        times(&rctl.removed, &peer.removed),
    );
    Ok(())
}

/// Each stack starts anew, so that it does not carry what others asked of it.
fn filled(plan: &Plan, stacks: &mut Stacks, name: &str) -> Result<Filled> {
    let ids: Vec<String> = (0..plan.containers).map(|number| format!("m{number}")).collect();
    let peer = name == PEER;
    kill(stacks, peer)?;
    let client = stacks.client(name).context("a client")?;
    let (before, free) = (memory(stacks, client)?, resident::available()?);
    let started = timing::measure(client, &restart::filling(client, &ids))?;
    restart::all_run(client, ids.len())?;
    let count = i64::try_from(ids.len().max(1))?;
    let sum = memory(stacks, client)? - before;
    let available = (free - resident::available()?) / count;
    let daemon =
        Resident::of(if peer { stacks.peer.pid() } else { stacks.ours.pid().context("runtimed")? })?;
    let list = Contender::new(client, |_| Job::in_order(vec![client.tasks()]));
    let listed = timing::in_turns(plan.rounds.min(20), &mut [list])?.pop().context("one was timed")?;
    let back = kill(stacks, peer)?;
    let client = stacks.client(name).context("a client")?;
    restart::all_run(client, ids.len())?;
    let removed = timing::measure(client, &restart::emptying(client, &ids))?;
    restart::all_run(client, 0)?;
    let each = Resident { rss: sum.rss / count, pss: sum.pss / count };
    Ok(Filled { started, listed, each, available, daemon, back, removed })
}

fn kill(stacks: &mut Stacks, peer: bool) -> Result<Cost> {
    if peer { restart::peer_once(stacks) } else { restart::ours_once(stacks) }
}

fn memory(stacks: &Stacks, client: &Client) -> Result<Resident> {
    resident::calm();
    Ok(Resident::of_all(&stacks.daemon_and_shims(&client.tree)?))
}

fn rows(all: [&Filled; 3]) -> Vec<Vec<String>> {
    let time = |what: &str, of: fn(&Filled) -> std::time::Duration| {
        row(what, all.map(|one| shown(of(one))), all.map(|one| of(one).as_secs_f64()))
    };
    let size = |what: &str, of: fn(&Filled) -> i64| {
        row(what, all.map(|one| format!("{} KiB", of(one))), all.map(|one| of(one) as f64))
    };
    vec![
        time("started by two clients", |one| one.started.wall),
        time("the same, CPU", |one| one.started.cpu),
        time("`tasks ls`, median", |one| percentile(&one.listed.walls, 50)),
        size("PSS of daemon and shims, each", |one| one.each.pss),
        size("RSS of daemon and shims, each", |one| one.each.rss),
        size("less MemAvailable, each", |one| one.available),
        size("daemon's RSS", |one| one.daemon.rss),
        size("daemon's PSS", |one| one.daemon.pss),
        time("back after a kill", |one| one.back.wall),
        time("the same, the daemon's CPU", |one| one.back.cpu),
        time("removed by two clients", |one| one.removed.wall),
        time("the same, CPU", |one| one.removed.cpu),
    ]
}

fn row(what: &str, shown: [String; 3], [rctl, ctr, peer]: [f64; 3]) -> Vec<String> {
    let ratios = [ratio(rctl, peer), ratio(ctr, peer)];
    std::iter::once(what.to_owned()).chain(shown).chain(ratios).collect()
}
