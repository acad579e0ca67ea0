//! How long a killed daemon needs until it answers again, with many containers running.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use harness::sh;

use super::stacks::Stacks;
use super::timing::Samples;
use super::{IMAGE, Plan, report};

/// Starts the containers, kills and restarts both daemons in turns, removes the containers, makes the table.
pub fn section(stacks: &mut Stacks, plan: &Plan) -> Result<String> {
    for number in 0..plan.containers {
        let id = format!("c{number}");
        let run = ["run", "-d", IMAGE, &id, "sleep", "100000"];
        sh::read(&mut stacks.ctr(&run)).with_context(|| format!("runtimed: {id}"))?;
        sh::read(&mut stacks.peer.ctr(&run)).with_context(|| format!("containerd: {id}"))?;
    }
    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    for _ in 0..plan.restarts {
        stacks.ours.kill_daemon()?;
        ours.push(
            stacks.ours.start_daemon_asked_by(|scene| scene.ctr_command(Path::new("ctr"), &["version"]))?,
        );
        all_run(&mut stacks.ctr(&["tasks", "ls"]), plan.containers).context("runtimed")?;
        peer.push(stacks.peer.restart()?);
        all_run(&mut stacks.peer.ctr(&["tasks", "ls"]), plan.containers).context("containerd")?;
    }
    for number in 0..plan.containers {
        let id = format!("c{number}");
        for args in [["tasks", "rm", "--force", &id], ["containers", "rm", &id, ""]] {
            let args: Vec<&str> = args.into_iter().filter(|word| !word.is_empty()).collect();
            // A forced removal tells the exit code of what it killed as a warning.
            sh::output(&mut stacks.ctr(&args))?;
            sh::output(&mut stacks.peer.ctr(&args))?;
        }
    }
    let ours = Samples::new("runtimed".to_owned(), ours);
    let peer = Samples::new("containerd".to_owned(), peer);
    let title = format!(
        "From the start of a killed daemon until `ctr version` succeeds, {} containers running",
        plan.containers
    );
    Ok(report::times(&title, &[(&ours, &peer)]))
}

fn all_run(list: &mut Command, containers: usize) -> Result<()> {
    let list = sh::read(list)?;
    let running = list.lines().filter(|line| line.contains("RUNNING")).count();
    ensure!(running == containers, "{running} of {containers} run after the restart:\n{list}");
    Ok(())
}
