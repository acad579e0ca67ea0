//! Rows about many short containers: one after another, and at once.

use anyhow::Result;

use super::Plan;
use super::job::Job;
use super::report::Report;
use super::stacks::{DOCKER, OUR_CTR, PEER, PODMAN, RCTL, Stacks};
use super::timing::{self, Contender};

/// `run --rm` again and again.
pub fn in_order(plan: &Plan, stacks: &Stacks, report: &mut Report) -> Result<()> {
    report.part(&format!("{} containers one after another", plan.batch));
    batches(plan, stacks, report, "`run --rm` of `/bin/true`, in order", |runs| {
        Job::in_order(runs.into_iter().flatten().collect())
    })
}

/// `run --rm` by as many clients.
pub fn at_once(plan: &Plan, stacks: &Stacks, report: &mut Report) -> Result<()> {
    report.part(&format!("{} containers at once", plan.batch));
    batches(plan, stacks, report, "`run --rm` of `/bin/true`, all at once", Job::at_once)
}

fn batches(
    plan: &Plan,
    stacks: &Stacks,
    report: &mut Report,
    title: &str,
    job: impl Fn(Vec<Vec<super::job::Step>>) -> Job + Copy,
) -> Result<()> {
    let mut contenders: Vec<_> = stacks
        .of(&[RCTL, OUR_CTR, PEER, DOCKER, PODMAN])
        .into_iter()
        .map(|client| {
            Contender::new(client, move |_| {
                job((0..plan.batch)
                    .map(|number| vec![client.run_and_remove(&format!("b{number}"))])
                    .collect())
            })
        })
        .collect();
    let samples = timing::in_turns(plan.batches, &mut contenders)?;
    report.times(title, &samples, PEER);
    Ok(())
}
