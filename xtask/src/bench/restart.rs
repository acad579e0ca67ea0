//! How long a killed daemon needs until it answers again, with many containers running.

use anyhow::{Context, Result, ensure};

use super::client::Client;
use super::job::Job;
use super::report::Report;
use super::resident;
use super::stacks::{OUR_CTR, PEER, RCTL, Stacks};
use super::timing::{Cost, Samples};
use super::{Plan, SLEEP};

/// Containers started by so many clients.
const LANES: usize = 2;

/// With each number of containers: starts them, kills and restarts both daemons in turns, removes them.
pub fn section(plan: &Plan, stacks: &mut Stacks, report: &mut Report) -> Result<()> {
    report.part("A killed daemon");
    for containers in &plan.running {
        let ids: Vec<String> = (0..*containers).map(|number| format!("r{number}")).collect();
        for name in [RCTL, PEER] {
            fill(stacks.client(name).context(name)?, &ids)?;
        }
        let (mut ours, mut peer) = (Vec::new(), Vec::new());
        for _ in 0..plan.restarts {
            ours.push(ours_once(stacks)?);
            all_run(stacks.client(OUR_CTR).context("ctr")?, *containers)?;
            peer.push(peer_once(stacks)?);
            all_run(stacks.client(PEER).context("ctr")?, *containers)?;
        }
        for name in [RCTL, PEER] {
            empty(stacks.client(name).context(name)?, &ids)?;
        }
        let samples = [Samples::new("runtimed", &ours), Samples::new("containerd", &peer)];
        let title = format!("from its start until `ctr version` succeeds, {containers} running");
        report.times(&title, &samples, "containerd");
    }
    Ok(())
}

/// Kills ours and starts it.
pub fn ours_once(stacks: &mut Stacks) -> Result<Cost> {
    let wall = stacks.restart_ours()?;
    Ok(Cost { wall, cpu: resident::cpu_time(stacks.ours.pid().context("runtimed runs")?)? })
}

/// Kills containerd and starts it.
pub fn peer_once(stacks: &mut Stacks) -> Result<Cost> {
    let wall = stacks.restart_peer()?;
    Ok(Cost { wall, cpu: resident::cpu_time(stacks.peer.pid())? })
}

/// Starts one container for each id, by two clients.
pub fn fill(client: &Client, ids: &[String]) -> Result<()> {
    client.all_ok(&filling(client, ids)).map(drop)
}

/// The job of [`fill`].
pub fn filling(client: &Client, ids: &[String]) -> Job {
    Job::dealt(ids.iter().map(|id| vec![client.run_detached(id, SLEEP)]).collect(), LANES)
}

/// Removes them all, by two clients.
pub fn empty(client: &Client, ids: &[String]) -> Result<()> {
    client.all_ok(&emptying(client, ids)).map(drop)
}

/// The job of [`empty`].
pub fn emptying(client: &Client, ids: &[String]) -> Job {
    Job::dealt(ids.iter().map(|id| client.remove(id)).collect(), LANES)
}

/// As many tasks as this have to be listed as running.
pub fn all_run(client: &Client, containers: usize) -> Result<()> {
    let list = client.ok(vec![client.tasks()])?;
    let running = list.lines().filter(|line| line.contains("RUNNING")).count();
    ensure!(running == containers, "{}: {running} of {containers} run:\n{list}", client.name);
    Ok(())
}
