//! Limits as properties of a unit (systemd.resource-control(5)). What has no property is only written to the cgroup's files.

use std::path::Path;

use oci::runtime::{LinuxCpu, LinuxResources};

use super::dbus::Value;
use super::manager::Property;
use crate::cgroup::{Error, Result, file, pids, v2};
use crate::log;

/// The releases of systemd that brought a property.
const QUOTA_PERIOD: u32 = 242;
const ALLOWED_CPUS: u32 = 244;
const IDLE: u32 = 252;

/// No limit.
const INFINITY: u64 = u64::MAX;
/// The kernel's period, in microseconds.
const PERIOD: u64 = 100_000;
const SECOND: u64 = 1_000_000;
/// systemd counts quotas in whole hundredths of a processor.
const PERCENT: u64 = 10_000;

/// Asks for the release of systemd, if it matters.
pub type Version<'a> = &'a mut dyn FnMut() -> Result<u32>;

/// The properties of `resources` on version 2. `dir` is the cgroup, which knows the other half of a bandwidth.
pub fn unified(resources: &LinuxResources, dir: &Path, version: Version<'_>) -> Result<Vec<Property>> {
    let mut found = Vec::new();
    memory(resources, &mut found)?;
    if let Some(cpu) = resources.cpu() {
        let idle = cpu.idle() == Some(1) && version()? >= IDLE;
        let weight = cpu.shares().and_then(v2::weight_of_shares);
        match (idle, weight) {
            (true, Some(_)) => {
                log::warn("unable to apply both CPUWeight and CpuIdle to systemd, ignoring CPUWeight")
            }
            (false, Some(weight)) => found.push(number("CPUWeight", weight)),
            _ => {}
        }
        if idle {
            found.push(number("CPUWeight", 0));
        }
        let now = file::read(dir, "cpu.max").unwrap_or_default();
        bandwidth(cpu, halves(&now), version, &mut found)?;
        cpuset(cpu, version, &mut found)?;
    }
    tasks(resources, &mut found);
    if let Some(weight) =
        resources.block_io().as_ref().and_then(|io| io.weight()).filter(|weight| *weight != 0)
    {
        found.push(number("IOWeight", v2::io_weight(weight)?));
    }
    for (name, value) in sorted(resources) {
        by_file(name, value.trim(), version, &mut found)?;
    }
    Ok(found)
}

/// The properties of `resources` on version 1; `dir` is the directory of the controller cpu.
pub fn legacy(resources: &LinuxResources, dir: &Path, version: Version<'_>) -> Result<Vec<Property>> {
    let mut found = Vec::new();
    if let Some(limit) =
        resources.memory().as_ref().and_then(|memory| memory.limit()).filter(|limit| *limit != 0)
    {
        found.push(number("MemoryLimit", unsigned(limit)));
    }
    if let Some(cpu) = resources.cpu() {
        found.extend(cpu.shares().filter(|shares| *shares != 0).map(|shares| number("CPUShares", shares)));
        let quota = file::read_i64(dir, "cpu.cfs_quota_us").unwrap_or(-1);
        let period = file::read_u64(dir, "cpu.cfs_period_us").unwrap_or(PERIOD);
        bandwidth(cpu, (quota, period), version, &mut found)?;
        cpuset(cpu, version, &mut found)?;
    }
    if let Some(weight) =
        resources.block_io().as_ref().and_then(|io| io.weight()).filter(|weight| *weight != 0)
    {
        found.push(number("BlockIOWeight", weight.into()));
    }
    tasks(resources, &mut found);
    Ok(found)
}

fn memory(resources: &LinuxResources, found: &mut Vec<Property>) -> Result<()> {
    let Some(memory) = resources.memory() else { return Ok(()) };
    let (limit, swap) = (memory.limit().unwrap_or_default(), memory.swap().unwrap_or_default());
    for (name, value) in [("MemoryMax", limit), ("MemoryLow", memory.reservation().unwrap_or_default())] {
        if value != 0 {
            found.push(number(name, unsigned(value)));
        }
    }
    if let Some(swap) = v2::swap_of(swap, limit)? {
        found.push(number("MemorySwapMax", swap.parse().unwrap_or(INFINITY)));
    }
    Ok(())
}

fn tasks(resources: &LinuxResources, found: &mut Vec<Property>) {
    let limit = resources.pids().as_ref().map(|pids| pids::max_of(pids.limit()));
    found.extend(limit.map(|limit| number("TasksMax", limit.parse().unwrap_or(INFINITY))));
}

/// Quota and period; whichever is not given is what it is `now`.
fn bandwidth(cpu: &LinuxCpu, now: (i64, u64), version: Version<'_>, found: &mut Vec<Property>) -> Result<()> {
    let quota = cpu.quota().filter(|quota| *quota != 0);
    let period = cpu.period().filter(|period| *period != 0);
    if quota.is_none() && period.is_none() {
        return Ok(());
    }
    push_bandwidth(quota.unwrap_or(now.0), period.unwrap_or(now.1), version, found)
}

fn push_bandwidth(quota: i64, period: u64, version: Version<'_>, found: &mut Vec<Property>) -> Result<()> {
    if version()? >= QUOTA_PERIOD {
        found.push(number("CPUQuotaPeriodUSec", period));
    }
    found.push(number("CPUQuotaPerSecUSec", per_second(quota, period)));
    Ok(())
}

/// Microseconds of processor time a second, rounded up to what systemd can say, so that cgroups below may have the whole quota.
fn per_second(quota: i64, period: u64) -> u64 {
    match u64::try_from(quota) {
        Ok(quota) if quota > 0 && period > 0 => {
            let exact = u128::from(quota) * u128::from(SECOND) / u128::from(period);
            u64::try_from(exact)
                .ok()
                .and_then(|exact| exact.checked_next_multiple_of(PERCENT))
                .unwrap_or(INFINITY)
        }
        _ => INFINITY,
    }
}

/// What `cpu.max` says: quota, -1 for none, and period.
fn halves(text: &str) -> (i64, u64) {
    let mut words = text.split_ascii_whitespace();
    let quota = words.next().and_then(|word| word.parse().ok()).unwrap_or(-1);
    (quota, words.next().and_then(|word| word.parse().ok()).unwrap_or(PERIOD))
}

fn cpuset(cpu: &LinuxCpu, version: Version<'_>, found: &mut Vec<Property>) -> Result<()> {
    for (name, field, list) in
        [("AllowedCPUs", "cpu.cpus", cpu.cpus()), ("AllowedMemoryNodes", "cpu.mems", cpu.mems())]
    {
        if let Some(list) = list.as_deref().filter(|list| !list.is_empty())
            && version()? >= ALLOWED_CPUS
        {
            found.push((name.into(), bits(field, list)?));
        }
    }
    Ok(())
}

/// A list of ranges as a bit mask, the lowest byte first.
fn bits(field: &str, list: &str) -> Result<Value> {
    let numbers = file::parse_list(list.trim()).filter(|numbers| !numbers.is_empty());
    let numbers =
        numbers.ok_or_else(|| Error::invalid(field, format!("{list:?} is not a list of ranges")))?;
    let mut mask = vec![0u8; usize::from(numbers.iter().max().copied().unwrap_or_default()) / 8 + 1];
    for number in numbers {
        mask[usize::from(number) / 8] |= 1 << (number % 8);
    }
    Ok(Value::Array("y".into(), mask.into_iter().map(Value::Byte).collect()))
}

fn sorted(resources: &LinuxResources) -> Vec<(&str, &str)> {
    let mut files: Vec<_> =
        resources.unified().iter().flatten().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    files.sort_unstable();
    files
}

/// A file of `linux.resources.unified` that has a property.
fn by_file(name: &str, value: &str, version: Version<'_>, found: &mut Vec<Property>) -> Result<()> {
    let field = || format!("linux.resources.unified {name}");
    let amount = || match value {
        "max" => Ok(INFINITY),
        value => value.parse().map_err(|_| Error::invalid(field(), format!("{value:?} is not a number"))),
    };
    match name {
        "cpu.weight" => found.push(number("CPUWeight", amount()?)),
        "cpu.idle" if value == "1" && version()? >= IDLE => found.push(number("CPUWeight", 0)),
        "cpu.max" => {
            let (quota, period) = halves(value);
            push_bandwidth(quota, period, version, found)?;
        }
        "cpuset.cpus" | "cpuset.mems" if value.is_empty() || version()? < ALLOWED_CPUS => {}
        "cpuset.cpus" => found.push(("AllowedCPUs".into(), bits(&field(), value)?)),
        "cpuset.mems" => found.push(("AllowedMemoryNodes".into(), bits(&field(), value)?)),
        "memory.high" => found.push(number("MemoryHigh", amount()?)),
        "memory.low" => found.push(number("MemoryLow", amount()?)),
        "memory.min" => found.push(number("MemoryMin", amount()?)),
        "memory.max" => found.push(number("MemoryMax", amount()?)),
        "memory.swap.max" => found.push(number("MemorySwapMax", amount()?)),
        "pids.max" => found.push(number("TasksMax", amount()?)),
        _ => {}
    }
    Ok(())
}

fn number(name: &str, value: u64) -> Property {
    (name.into(), Value::U64(value))
}

/// -1 is no limit.
fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(INFINITY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(json: &str) -> Vec<Property> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("cpu.max"), "30000 50000\n").unwrap();
        unified(&serde_json::from_str(json).unwrap(), dir.path(), &mut || Ok(252)).unwrap()
    }

    fn numbers(list: &[(&str, u64)]) -> Vec<Property> {
        list.iter().map(|(name, value)| number(name, *value)).collect()
    }

    #[test]
    fn memory_and_tasks() {
        let found = of(r#"{"memory":{"limit":100,"swap":150,"reservation":-1},"pids":{"limit":-1}}"#);
        let wanted =
            [("MemoryMax", 100), ("MemoryLow", INFINITY), ("MemorySwapMax", 50), ("TasksMax", INFINITY)];
        assert_eq!(found, numbers(&wanted));
        assert_eq!(of(r#"{"pids":{"limit":0}}"#), numbers(&[("TasksMax", 1)]));
        assert!(of(r#"{"memory":{}}"#).is_empty());
    }

    #[test]
    fn bandwidth_is_rounded_up_and_completed() {
        let quota = |json: &str| match of(json).as_slice() {
            [(_, Value::U64(period)), (_, Value::U64(quota))] => (*period, *quota),
            other => panic!("{other:?}"),
        };
        assert_eq!(quota(r#"{"cpu":{"quota":50000,"period":100000}}"#), (100_000, 500_000));
        assert_eq!(quota(r#"{"cpu":{"quota":1001,"period":100000}}"#), (100_000, 20_000));
        assert_eq!(quota(r#"{"cpu":{"quota":25000}}"#), (50_000, 500_000));
        assert_eq!(quota(r#"{"cpu":{"period":60000}}"#), (60_000, 500_000));
        assert_eq!(quota(r#"{"cpu":{"quota":-1}}"#), (50_000, INFINITY));
        assert_eq!(quota(r#"{"unified":{"cpu.max":"max 200000"}}"#), (200_000, INFINITY));
    }

    #[test]
    fn processors_are_a_mask() {
        let mask = |bytes: &[u8]| Value::Array("y".into(), bytes.iter().map(|b| Value::Byte(*b)).collect());
        let found = of(r#"{"cpu":{"cpus":"0-2,9","mems":"0"}}"#);
        assert_eq!(found, [("AllowedCPUs".into(), mask(&[7, 2])), ("AllowedMemoryNodes".into(), mask(&[1]))]);
        let old =
            unified(&serde_json::from_str(r#"{"cpu":{"cpus":"0"}}"#).unwrap(), Path::new("/"), &mut || {
                Ok(243)
            });
        assert!(old.unwrap().is_empty());
        assert!(bits("cpu.cpus", "a").unwrap_err().to_string().contains("cpu.cpus"));
    }

    #[test]
    fn files_come_last() {
        let found = of(
            r#"{"pids":{"limit":5},"unified":{"pids.max":"7","memory.high":"9","io.max":"x","cpu.idle":"1"}}"#,
        );
        assert_eq!(found, numbers(&[("TasksMax", 5), ("CPUWeight", 0), ("MemoryHigh", 9), ("TasksMax", 7)]));
    }

    #[test]
    fn version_1_has_its_own_names() {
        let json =
            r#"{"memory":{"limit":100},"cpu":{"shares":512},"blockIO":{"weight":500},"pids":{"limit":4}}"#;
        let found =
            legacy(&serde_json::from_str(json).unwrap(), Path::new("/none"), &mut || Ok(252)).unwrap();
        let wanted = [("MemoryLimit", 100), ("CPUShares", 512), ("BlockIOWeight", 500), ("TasksMax", 4)];
        assert_eq!(found, numbers(&wanted));
    }
}
