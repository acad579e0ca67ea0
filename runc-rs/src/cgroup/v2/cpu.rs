//! Controller cpu: `cpu.weight`, `cpu.max`, `cpu.idle`.

use std::path::Path;

use nix::errno::Errno;
use oci::runtime::{LinuxCpu, LinuxResources};

use super::write_limit;
use crate::cgroup::{Result, Stats, file};

/// Applies config.json's `cpu`, without its cpuset part. Real-time budgets do not exist on
/// version 2 and are passed over, as runc does.
pub fn set(dir: &Path, resources: &LinuxResources) -> Result<()> {
    let Some(cpu) = resources.cpu() else { return Ok(()) };
    if let Some(idle) = cpu.idle() {
        write_limit(dir, "cpu.idle", &idle.to_string(), "cpu.idle")?;
    }
    if let Some(weight) = cpu.shares().and_then(weight_of_shares) {
        write_limit(dir, "cpu.weight", &weight.to_string(), "cpu.shares")?;
    }
    set_bandwidth(dir, cpu)
}

/// Quota and period share a file; whichever is not given stays as it is. A burst may only fit the new quota.
fn set_bandwidth(dir: &Path, cpu: &LinuxCpu) -> Result<()> {
    let quota = cpu.quota().filter(|quota| *quota != 0);
    let period = cpu.period().filter(|period| *period != 0);
    let mut burst = cpu.burst().map(|burst| burst.to_string());
    if let Some(value) = &burst {
        match write_limit(dir, "cpu.max.burst", value, "cpu.burst") {
            Err(e) if e.errno() == Some(Errno::EINVAL) && quota.is_some() => {}
            done => {
                done?;
                burst = None;
            }
        }
    }
    if quota.is_some() || period.is_some() {
        let old = file::optional(file::read(dir, "cpu.max"))?.unwrap_or_default();
        write_limit(dir, "cpu.max", &max_line(&old, quota, period), "cpu.quota")?;
    }
    burst.map_or(Ok(()), |value| write_limit(dir, "cpu.max.burst", &value, "cpu.burst"))
}

/// The new content of `cpu.max` from the old one.
fn max_line(old: &str, quota: Option<i64>, period: Option<u64>) -> String {
    let mut old = old.split_ascii_whitespace();
    let (old_quota, old_period) = (old.next().unwrap_or("max"), old.next().unwrap_or("100000"));
    let quota = match quota {
        Some(quota) if quota > 0 => quota.to_string(),
        Some(_) => "max".into(),
        None => old_quota.into(),
    };
    format!("{quota} {}", period.map_or(old_period.into(), |period| period.to_string()))
}

/// Shares (2..=262144, usually 1024) as a weight (1..=10000, usually 100): the curve through the three fixed points
/// that runc and crun use since 2025. Nought is "not set".
pub fn weight_of_shares(shares: u64) -> Option<u64> {
    match shares {
        0 => None,
        1..=2 => Some(1),
        262_144.. => Some(10_000),
        _ => {
            let log = (shares as f64).log2();
            let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
            Some(10_f64.powf(exponent).ceil() as u64)
        }
    }
}

/// Reads the time used and what the quota held back.
pub fn stats(dir: &Path, stats: &mut Stats) -> Result<()> {
    let Some(stat) = file::optional(file::read_keyed(dir, "cpu.stat"))? else { return Ok(()) };
    let get = |key: &str| stat.get(key).copied().unwrap_or_default();
    let cpu = &mut stats.cpu;
    cpu.usage.total = get("usage_usec").saturating_mul(1000);
    cpu.usage.user = get("user_usec").saturating_mul(1000);
    cpu.usage.kernel = get("system_usec").saturating_mul(1000);
    cpu.throttling.periods = get("nr_periods");
    cpu.throttling.throttled_periods = get("nr_throttled");
    cpu.throttling.throttled_time = get("throttled_usec").saturating_mul(1000);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_meet_the_fixed_points_and_grow() {
        assert_eq!(weight_of_shares(0), None);
        assert_eq!(weight_of_shares(2), Some(1));
        assert_eq!(weight_of_shares(1024), Some(100));
        assert_eq!(weight_of_shares(262_144), Some(10_000));
        let weights: Vec<_> = (1..=18).map(|bit| weight_of_shares(1 << bit).unwrap()).collect();
        assert!(weights.is_sorted());
    }

    #[test]
    fn one_half_of_cpu_max_keeps_the_other() {
        assert_eq!(max_line("max 100000\n", Some(5000), None), "5000 100000");
        assert_eq!(max_line("5000 100000\n", None, Some(20000)), "5000 20000");
        assert_eq!(max_line("5000 20000\n", Some(-1), None), "max 20000");
        assert_eq!(max_line("", Some(1), Some(2)), "1 2");
    }
}
