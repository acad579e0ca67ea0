//! Controller cpuacct: CPU time used; nothing to set (Documentation/admin-guide/cgroup-v1/cpuacct.rst).

use std::path::Path;

use crate::cgroup::{Result, Stats, file};

/// Nanoseconds of one tick of `cpuacct.stat`: USER_HZ is 100 on every architecture that is built for.
const TICK: u64 = 1_000_000_000 / 100;

/// Reads the time used.
pub fn stats(dir: &Path, stats: &mut Stats) -> Result<()> {
    let ticks = file::read_keyed(dir, "cpuacct.stat")?;
    let time = |key: &str| ticks.get(key).copied().unwrap_or_default().saturating_mul(TICK);
    let usage = &mut stats.cpu.usage;
    usage.user = time("user");
    usage.kernel = time("system");
    usage.total = file::read_u64(dir, "cpuacct.usage")?;
    let percpu = file::read(dir, "cpuacct.usage_percpu")?;
    usage.percpu = percpu
        .split_ascii_whitespace()
        .map(|n| file::parse(dir, "cpuacct.usage_percpu", n))
        .collect::<Result<_>>()?;
    if let Some(table) = file::optional(file::read(dir, "cpuacct.usage_all"))? {
        (usage.percpu_user, usage.percpu_kernel) = parse_all(&table)
            .ok_or_else(|| file::malformed(dir, "cpuacct.usage_all", "not a table of cpu, user, system"))?;
    }
    Ok(())
}

/// `cpu user system` and a line for each processor; user times and kernel times.
fn parse_all(table: &str) -> Option<(Vec<u64>, Vec<u64>)> {
    let mut lines = table.lines();
    lines.next().filter(|header| header.starts_with("cpu user system"))?;
    lines
        .map(|line| {
            let mut fields = line.split_ascii_whitespace().skip(1);
            Some((fields.next()?.parse::<u64>().ok()?, fields.next()?.parse::<u64>().ok()?))
        })
        .collect::<Option<Vec<_>>>()
        .map(|rows| rows.into_iter().unzip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_of_processors() {
        assert_eq!(parse_all("cpu user system\n0 5 7\n1 6 8\n"), Some((vec![5, 6], vec![7, 8])));
        assert_eq!(parse_all("cpu user system\n0 5\n"), None);
        assert_eq!(parse_all("nonsense"), None);
    }
}
