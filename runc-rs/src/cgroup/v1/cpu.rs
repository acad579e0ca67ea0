//! Controller cpu: shares, quota, real-time budget (Documentation/scheduler/sched-{bwc,rt-group}.rst).

use std::path::Path;

use nix::errno::Errno;
use oci::runtime::{LinuxCpu, LinuxResources};

use super::need;
use crate::cgroup::{Error, Result, Stats, file};

/// Applies config.json's `cpu`, without its cpuset part.
pub fn set(dir: Option<&Path>, resources: &LinuxResources) -> Result<()> {
    let Some(cpu) = resources.cpu() else { return Ok(()) };
    if let Some(shares) = nonzero(cpu.shares()) {
        set_shares(need(dir, "cpu", "cpu.shares")?, shares)?;
    }
    set_bandwidth(dir, cpu)?;
    if let Some(idle) = cpu.idle() {
        file::write(need(dir, "cpu", "cpu.idle")?, "cpu.idle", &idle.to_string())?;
    }
    set_real_time(dir, cpu)
}

/// The kernel quietly moves a value into its range: reading it back tells.
fn set_shares(dir: &Path, shares: u64) -> Result<()> {
    file::write(dir, "cpu.shares", &shares.to_string())?;
    let got = file::read_u64(dir, "cpu.shares")?;
    let bound = match shares.cmp(&got) {
        std::cmp::Ordering::Equal => return Ok(()),
        std::cmp::Ordering::Greater => "maximum",
        std::cmp::Ordering::Less => "minimum",
    };
    Err(Error::invalid("cpu.shares", format!("the {bound} allowed cpu-shares is {got}")))
}

/// Period, burst and quota bound each other: what the kernel refuses before the new quota is tried again after it.
fn set_bandwidth(dir: Option<&Path>, cpu: &LinuxCpu) -> Result<()> {
    let quota = cpu.quota().filter(|quota| *quota != 0);
    let mut again = Vec::new();
    let period = nonzero(cpu.period()).map(|v| ("cpu.cfs_period_us", "cpu.period", v));
    let burst = cpu.burst().map(|v| ("cpu.cfs_burst_us", "cpu.burst", v));
    for (name, field, value) in period.into_iter().chain(burst) {
        match file::write(need(dir, "cpu", field)?, name, &value.to_string()) {
            Err(e) if e.errno() == Some(Errno::EINVAL) && quota.is_some() => again.push((name, value)),
            // Older kernels have no burst; as runc does, that is not held against the container.
            Err(e) if e.is_not_found() && field == "cpu.burst" => {}
            done => done?,
        }
    }
    if let Some(quota) = quota {
        let dir = need(dir, "cpu", "cpu.quota")?;
        file::write(dir, "cpu.cfs_quota_us", &quota.to_string())?;
        again.iter().try_for_each(|(name, value)| file::write(dir, name, &value.to_string()))?;
    }
    Ok(())
}

/// Like the bandwidth: a new period may only fit the new runtime.
fn set_real_time(dir: Option<&Path>, cpu: &LinuxCpu) -> Result<()> {
    let runtime = cpu.realtime_runtime().filter(|runtime| *runtime != 0);
    let mut again = None;
    if let Some(period) = nonzero(cpu.realtime_period()) {
        let period = period.to_string();
        match file::write(need(dir, "cpu", "cpu.realtimePeriod")?, "cpu.rt_period_us", &period) {
            Err(e) if e.errno() == Some(Errno::EINVAL) && runtime.is_some() => again = Some(period),
            done => done?,
        }
    }
    if let Some(runtime) = runtime {
        let dir = need(dir, "cpu", "cpu.realtimeRuntime")?;
        file::write(dir, "cpu.rt_runtime_us", &runtime.to_string())?;
        again.map_or(Ok(()), |period| file::write(dir, "cpu.rt_period_us", &period))?;
    }
    Ok(())
}

/// Reads what the quota held back.
pub fn stats(dir: &Path, stats: &mut Stats) -> Result<()> {
    let Some(stat) = file::optional(file::read_keyed(dir, "cpu.stat"))? else { return Ok(()) };
    let get = |key: &str| stat.get(key).copied().unwrap_or_default();
    let throttling = &mut stats.cpu.throttling;
    throttling.periods = get("nr_periods");
    throttling.throttled_periods = get("nr_throttled");
    throttling.throttled_time = get("throttled_time");
    Ok(())
}

/// In config.json's integers for version 1, nought means "leave it".
fn nonzero(value: Option<u64>) -> Option<u64> {
    value.filter(|value| *value != 0)
}
