//! What an executor needs of memory: its peak, and the smallest limit under which a container still starts.

use anyhow::{Context, Result, ensure};

use harness::sh;

use super::super::Plan;
use super::super::job::{Job, Step};
use super::super::report::{Report, ratio};
use super::bundle::Shape;
use super::{Executor, OURS, PEER};

/// How often the peak is read: pages come and go with the page cache's mood.
const READINGS: usize = 10;
/// A limit that is surely enough, and how close to the smallest one is close enough, in bytes.
const ENOUGH: u64 = 64 << 20;
const CLOSE: u64 = 32 << 10;
/// How often a container has to start under a limit that counts as enough.
const TRIES: usize = 3;

/// The greatest resident set of any process of `run`, as wait4 tells GNU time, which is smaller than any of them.
pub fn peak(plan: &Plan, executors: &[Executor], report: &mut Report) -> Result<()> {
    if !sh::has("time") {
        report.missing("executors: peak memory", "this machine has no GNU time");
        return Ok(());
    }
    let mut peaks = Vec::new();
    for one in executors {
        let bundle = one.bundle("peak", Shape::Plain)?;
        let mut kib = Vec::new();
        for _ in 0..READINGS.min(plan.rounds) {
            let run = one.run(&bundle);
            let time = Step::new("time", &["--format", "%M"]);
            let words: Vec<&str> = run.words.iter().map(String::as_str).collect();
            let said = one.client.ok(vec![time.with(&words)])?;
            kib.push(said.trim().parse::<u64>().with_context(|| format!("GNU time said: {said}"))?);
        }
        kib.sort_unstable();
        peaks.push((one.client.name.clone(), kib[kib.len() / 2]));
    }
    table(report, "peak memory of `run`: the largest process", &peaks);
    Ok(())
}

/// Halves the distance between a limit that is too small and one that is enough.
pub fn smallest(executors: &[Executor], report: &mut Report) -> Result<()> {
    let mut found = Vec::new();
    for one in executors {
        ensure!(starts(one, ENOUGH)?, "{} does not start with {ENOUGH} bytes", one.client.name);
        let (mut small, mut enough) = (0, ENOUGH);
        while enough - small > CLOSE {
            let middle = small.midpoint(enough) / 4096 * 4096;
            if starts(one, middle)? {
                enough = middle;
            } else {
                small = middle;
            }
        }
        found.push((one.client.name.clone(), enough / 1024));
    }
    table(report, "smallest memory limit with which `run` of `/bin/true` succeeds", &found);
    Ok(())
}

fn starts(one: &Executor, limit: u64) -> Result<bool> {
    let bundle = one.bundle("limit", Shape::Memory(limit))?;
    for _ in 0..TRIES {
        let failed = !one.client.ask(&Job::in_order(vec![one.run(&bundle)]))?.failures.is_empty();
        if failed {
            let delete = one.verb(&["delete", "--force"], &bundle).may_fail();
            one.client.ok(vec![delete])?;
            return Ok(false);
        }
    }
    Ok(true)
}

fn table(report: &mut Report, title: &str, found: &[(String, u64)]) {
    let of = |name: &str| found.iter().find(|(one, _)| one == name).map(|(_, kib)| *kib as f64);
    let rows: Vec<Vec<String>> = found
        .iter()
        .map(|(name, kib)| {
            let against = of(PEER).map_or("-".to_owned(), |peer| ratio(*kib as f64, peer));
            vec![name.clone(), format!("{kib} KiB"), against]
        })
        .collect();
    report.table(&[title, "", "÷ crun"], &rows);
    if let (Some(ours), Some(peer)) = (of(OURS), of(PEER)) {
        report.goal(&format!("executor: {title}, runc-rs ÷ crun"), 1.0, "", ours / peer);
    }
}
