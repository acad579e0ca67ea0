//! Limits: of the cgroup, and of the first process.

use errors::{Error, Result};
use serde_json::{Value, json};

use super::Machine;
use crate::config::{ContainerConfig, Ulimit};

/// Microseconds in which a CPU quota is counted.
const PERIOD: i64 = 100_000;
/// The least memory limit that docker takes, in bytes.
const LEAST_MEMORY: i64 = 6 << 20;
/// The least share of processors that the kernel counts in [`PERIOD`], in billionths.
const LEAST_CPUS: i64 = 10_000_000;
/// Which processors there are, as a list of cpuset(7).
const ONLINE: &str = "/sys/devices/system/cpu/online";
/// setrlimit(2)'s resources.
const ULIMITS: &[&str] = &[
    "as",
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// `linux.resources` (OCI runtime-spec config-linux.md "Control groups").
pub fn resources(config: &ContainerConfig, machine: &Machine) -> Result<Value> {
    let asked = &config.resources;
    let mut resources = json!({ "devices": [{ "allow": config.privileged, "access": "rwm" }] });
    if asked.memory != 0 || asked.memory_swap != 0 || asked.memory_reservation != 0 {
        resources["memory"] = memory(config, machine)?;
    }
    let mut cpu = json!({});
    if asked.nano_cpus < 0 {
        return Err(Error::invalid(format!("invalid value for --cpus: {}", asked.nano_cpus as f64 / 1e9)));
    }
    let online = match asked.nano_cpus > 0 || !asked.cpuset_cpus.is_empty() {
        true => std::fs::read_to_string(ONLINE).unwrap_or_default(),
        false => String::new(),
    };
    if asked.nano_cpus > 0 {
        check_cpus(asked.nano_cpus, &online)?;
        cpu["period"] = PERIOD.into();
        cpu["quota"] = ((asked.nano_cpus as i128 * PERIOD as i128 / 1_000_000_000) as i64).into();
    }
    if asked.cpu_shares > 0 {
        cpu["shares"] = asked.cpu_shares.into();
    }
    for (key, list) in [("cpus", &asked.cpuset_cpus), ("mems", &asked.cpuset_mems)] {
        if !list.is_empty() {
            check_list(list)?;
            if key == "cpus" {
                check_there(list, &online)?;
            }
            cpu[key] = list.clone().into();
        }
    }
    if cpu.as_object().is_some_and(|cpu| !cpu.is_empty()) {
        resources["cpu"] = cpu;
    }
    if asked.pids_limit > 0 {
        resources["pids"] = json!({ "limit": asked.pids_limit });
    }
    Ok(resources)
}

/// docker gives as much swap as memory when swap is not spoken of.
fn memory(config: &ContainerConfig, machine: &Machine) -> Result<Value> {
    let asked = &config.resources;
    if asked.memory != 0 && asked.memory < LEAST_MEMORY {
        return Err(Error::invalid("Minimum memory limit allowed is 6MB"));
    }
    if asked.memory_swap > 0 && asked.memory == 0 {
        return Err(Error::invalid(
            "You should always set the Memory limit when using Memoryswap limit, see usage",
        ));
    }
    if asked.memory_swap > 0 && asked.memory_swap < asked.memory {
        return Err(Error::invalid("Minimum memoryswap limit should be larger than memory limit, see usage"));
    }
    if asked.memory_reservation > 0 && asked.memory > 0 && asked.memory < asked.memory_reservation {
        return Err(Error::invalid(
            "Minimum memory limit can not be less than memory reservation limit, see usage",
        ));
    }
    let mut memory = json!({});
    if asked.memory > 0 {
        memory["limit"] = asked.memory.into();
    }
    if asked.memory_swap != 0 {
        memory["swap"] = asked.memory_swap.into();
    } else if asked.memory > 0 && machine.swap {
        memory["swap"] = asked.memory.saturating_mul(2).into();
    }
    if asked.memory_reservation > 0 {
        memory["reservation"] = asked.memory_reservation.into();
    }
    Ok(memory)
}

/// A list of cpuset(7): numbers and ranges.
fn check_list(list: &str) -> Result<()> {
    let number =
        |text: &str| !text.is_empty() && text.len() <= 9 && text.bytes().all(|byte| byte.is_ascii_digit());
    let fine = list.split(',').all(|part| match part.split_once('-') {
        Some((from, to)) => number(from) && number(to),
        None => number(part),
    });
    if fine { Ok(()) } else { Err(Error::invalid(format!("Invalid value {list} for cpuset cpus or mems"))) }
}

/// The numbers of a list in the form of cpuset(7), as ranges; what is none of it is left out.
fn ranges(list: &str) -> Vec<std::ops::RangeInclusive<u32>> {
    let number = |text: &str| text.parse::<u32>().ok();
    let range = |part: &str| match part.split_once('-') {
        Some((from, to)) => Some(number(from)?..=number(to)?),
        None => number(part).map(|one| one..=one),
    };
    list.trim().split(',').filter_map(range).collect()
}

/// Refuses more processors than there are, and less than the kernel can count, in docker's words. Where nobody knows how many there are, the
/// kernel decides.
fn check_cpus(nanos: i64, online: &str) -> Result<()> {
    let count: i64 = ranges(online).into_iter().map(|range| range.count() as i64).sum();
    if count == 0 || (LEAST_CPUS..=count.saturating_mul(1_000_000_000)).contains(&nanos) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "range of CPUs is from 0.01 to {count}.00, as there are only {count} CPUs available"
    )))
}

fn check_there(list: &str, online: &str) -> Result<()> {
    let there = ranges(online);
    let is_there = |number: u32| there.iter().any(|range| range.contains(&number));
    // As many as the ranges of what there is, and no more, are looked at.
    let fits = |asked: std::ops::RangeInclusive<u32>| {
        is_there(*asked.start()) && is_there(*asked.end()) && asked.clone().all(is_there)
    };
    if there.is_empty() || ranges(list).into_iter().all(fits) {
        return Ok(());
    }
    let online = online.trim();
    Err(Error::invalid(format!("requested CPUs are not available - requested {list}, available: {online}")))
}

/// `process.rlimits` (OCI runtime-spec config.md "POSIX process").
pub fn rlimits(config: &ContainerConfig) -> Result<Value> {
    config.ulimits.iter().map(rlimit).collect()
}

fn rlimit(limit: &Ulimit) -> Result<Value> {
    if !ULIMITS.contains(&limit.name.as_str()) {
        return Err(Error::invalid(format!("invalid ulimit type: {}", limit.name)));
    }
    let unlimited = |value: i64| if value < 0 { u64::MAX } else { value as u64 };
    let (soft, hard) = (unlimited(limit.soft), unlimited(limit.hard));
    if soft > hard {
        return Err(Error::invalid(format!(
            "ulimit soft limit must be less than or equal to hard limit: {} > {}",
            limit.soft, limit.hard
        )));
    }
    Ok(json!({ "type": format!("RLIMIT_{}", limit.name.to_ascii_uppercase()), "soft": soft, "hard": hard }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Resources;

    fn with(asked: Resources) -> Result<Value> {
        let machine = Machine { swap: true, ..Machine::default() };
        resources(&ContainerConfig { resources: asked, ..Default::default() }, &machine)
    }

    #[test]
    fn half_a_cpu_and_twice_the_swap() {
        let made =
            with(Resources { nano_cpus: 500_000_000, memory: 64 << 20, pids_limit: 7, ..Default::default() })
                .unwrap();
        assert_eq!(made["cpu"]["quota"], 50_000);
        assert_eq!(made["memory"]["swap"], 128 << 20);
        assert_eq!(made["pids"]["limit"], 7);
        assert_eq!(made["devices"][0]["allow"], false);
    }

    #[test]
    fn processors_that_are_not_there_are_refused() {
        for (nanos, online, fine) in [
            (10_000_000, "0-1\n", true),
            (2_000_000_000, "0-1\n", true),
            (9_999_999, "0-1\n", false),
            (2_000_000_001, "0-1\n", false),
            (4_000_000_000, "0,2-3,7\n", true),
            (i64::MAX, "", true),
        ] {
            assert_eq!(check_cpus(nanos, online).is_ok(), fine, "{nanos} of {online:?}");
        }
        for (list, online, fine) in [
            ("0-1", "0-1\n", true),
            ("1", "0-1\n", true),
            ("77", "0-1\n", false),
            ("0-999999999", "0-1\n", false),
            ("0-3", "0-1,3\n", false),
            ("5", "", true),
        ] {
            assert_eq!(check_there(list, online).is_ok(), fine, "{list} of {online:?}");
        }
        let refused = check_there("77", "0-1\n").unwrap_err();
        assert_eq!(refused.message(), "requested CPUs are not available - requested 77, available: 0-1");
    }

    #[test]
    fn nonsense_is_named() {
        assert!(with(Resources { memory: 1 << 20, ..Default::default() }).is_err());
        assert!(with(Resources { cpuset_cpus: "0-".into(), ..Default::default() }).is_err());
        let limit = Ulimit { name: "nofile".into(), soft: 10, hard: 5 };
        assert!(rlimit(&limit).is_err());
        assert!(rlimit(&Ulimit { name: "nope".into(), soft: 1, hard: 1 }).is_err());
        assert_eq!(rlimit(&Ulimit { name: "core".into(), soft: -1, hard: -1 }).unwrap()["hard"], u64::MAX);
    }
}
