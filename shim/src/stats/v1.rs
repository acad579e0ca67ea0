//! `io.containerd.cgroups.v1.Metrics` (Documentation/admin-guide/cgroup-v1). A hierarchy that is not mounted
//! is left out.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use errors::{Error, Result};
use proto_shim::MessageField;
use proto_shim::metrics::v1::{
    BlkIOEntry, BlkIOStat, CPUStat, CPUUsage, HugetlbStat, MemoryEntry, MemoryOomControl, MemoryStat,
    Metrics, PidsStat, Throttle,
};

use crate::cgroup::{must_exist, number, table, text};

/// `cpuacct.stat` counts in ticks of this many nanoseconds: USER_HZ is 100 on every architecture containers
/// run on.
const TICK: u64 = 10_000_000;

/// Reads all of it.
///
/// # Errors
/// NotFound if every cgroup is gone.
pub(super) fn read(dirs: &BTreeMap<String, PathBuf>) -> Result<Metrics> {
    if !dirs.values().any(|dir| must_exist(dir).is_ok()) {
        return Err(Error::not_found("the container's cgroup does not exist"));
    }
    let dir = |name: &str| dirs.get(name).filter(|dir| dir.is_dir()).map(PathBuf::as_path);
    Ok(Metrics {
        pids: dir("pids").map(pids).into(),
        cpu: dir("cpuacct").or(dir("cpu")).map(|acct| cpu(acct, dir("cpu"))).into(),
        memory: dir("memory").map(memory).into(),
        memory_oom_control: dir("memory").map(oom_control).into(),
        blkio: dir("blkio").map(blkio).into(),
        hugetlb: dir("hugetlb").map(hugetlb).unwrap_or_default(),
        ..Metrics::default()
    })
}

fn pids(dir: &Path) -> PidsStat {
    // containerd tells an absent limit as 0.
    let limit = number(dir, "pids.max").filter(|limit| *limit != u64::MAX).unwrap_or_default();
    PidsStat { current: number(dir, "pids.current").unwrap_or_default(), limit, ..PidsStat::default() }
}

fn cpu(acct: &Path, cpu: Option<&Path>) -> CPUStat {
    let times = table(acct, "cpuacct.stat");
    let ticks = |key: &str| times.get(key).copied().unwrap_or_default() * TICK;
    let per_cpu = text(acct, "cpuacct.usage_percpu");
    let throttled = cpu.map(|dir| table(dir, "cpu.stat")).unwrap_or_default();
    let get = |key: &str| throttled.get(key).copied().unwrap_or_default();
    CPUStat {
        usage: MessageField::some(CPUUsage {
            total: number(acct, "cpuacct.usage").unwrap_or_default(),
            kernel: ticks("system"),
            user: ticks("user"),
            per_cpu: per_cpu.split_whitespace().filter_map(|text| text.parse().ok()).collect(),
            ..CPUUsage::default()
        }),
        throttling: MessageField::some(Throttle {
            periods: get("nr_periods"),
            throttled_periods: get("nr_throttled"),
            throttled_time: get("throttled_time"),
            ..Throttle::default()
        }),
        ..CPUStat::default()
    }
}

fn memory(dir: &Path) -> MemoryStat {
    let stat = table(dir, "memory.stat");
    let get = |key: &str| stat.get(key).copied().unwrap_or_default();
    let entry = |prefix: &str| {
        let read = |what: &str| number(dir, &format!("memory.{prefix}{what}"));
        read("usage_in_bytes").map(|usage| MemoryEntry {
            usage,
            limit: read("limit_in_bytes").unwrap_or_default(),
            max: read("max_usage_in_bytes").unwrap_or_default(),
            failcnt: read("failcnt").unwrap_or_default(),
            ..MemoryEntry::default()
        })
    };
    MemoryStat {
        cache: get("cache"),
        rss: get("rss"),
        rss_huge: get("rss_huge"),
        mapped_file: get("mapped_file"),
        dirty: get("dirty"),
        writeback: get("writeback"),
        pg_pg_in: get("pgpgin"),
        pg_pg_out: get("pgpgout"),
        pg_fault: get("pgfault"),
        pg_maj_fault: get("pgmajfault"),
        inactive_anon: get("inactive_anon"),
        active_anon: get("active_anon"),
        inactive_file: get("inactive_file"),
        active_file: get("active_file"),
        unevictable: get("unevictable"),
        hierarchical_memory_limit: get("hierarchical_memory_limit"),
        hierarchical_swap_limit: get("hierarchical_memsw_limit"),
        total_cache: get("total_cache"),
        total_rss: get("total_rss"),
        total_rss_huge: get("total_rss_huge"),
        total_mapped_file: get("total_mapped_file"),
        total_dirty: get("total_dirty"),
        total_writeback: get("total_writeback"),
        total_pg_pg_in: get("total_pgpgin"),
        total_pg_pg_out: get("total_pgpgout"),
        total_pg_fault: get("total_pgfault"),
        total_pg_maj_fault: get("total_pgmajfault"),
        total_inactive_anon: get("total_inactive_anon"),
        total_active_anon: get("total_active_anon"),
        total_inactive_file: get("total_inactive_file"),
        total_active_file: get("total_active_file"),
        total_unevictable: get("total_unevictable"),
        usage: entry("").into(),
        swap: entry("memsw.").into(),
        kernel: entry("kmem.").into(),
        kernel_tcp: entry("kmem.tcp.").into(),
        ..MemoryStat::default()
    }
}

fn oom_control(dir: &Path) -> MemoryOomControl {
    let control = table(dir, "memory.oom_control");
    let get = |key: &str| control.get(key).copied().unwrap_or_default();
    MemoryOomControl {
        oom_kill_disable: get("oom_kill_disable"),
        under_oom: get("under_oom"),
        oom_kill: get("oom_kill"),
        ..MemoryOomControl::default()
    }
}

/// The proportional-weight files of old kernels win; the throttling files are always there.
fn blkio(dir: &Path) -> BlkIOStat {
    let first = |names: &[&str]| {
        let read = |name: &&str| parse_blkio(&text(dir, &format!("blkio.{name}")));
        names.iter().map(read).find(|entries| !entries.is_empty()).unwrap_or_default()
    };
    BlkIOStat {
        io_service_bytes_recursive: first(&[
            "io_service_bytes_recursive",
            "bfq.io_service_bytes_recursive",
            "throttle.io_service_bytes_recursive",
            "throttle.io_service_bytes",
        ]),
        io_serviced_recursive: first(&[
            "io_serviced_recursive",
            "bfq.io_serviced_recursive",
            "throttle.io_serviced_recursive",
            "throttle.io_serviced",
        ]),
        io_queued_recursive: first(&["io_queued_recursive", "bfq.io_queued_recursive"]),
        io_service_time_recursive: first(&["io_service_time_recursive", "bfq.io_service_time_recursive"]),
        io_wait_time_recursive: first(&["io_wait_time_recursive", "bfq.io_wait_time_recursive"]),
        io_merged_recursive: first(&["io_merged_recursive", "bfq.io_merged_recursive"]),
        io_time_recursive: first(&["time_recursive", "bfq.time_recursive"]),
        sectors_recursive: first(&["sectors_recursive", "bfq.sectors_recursive"]),
        ..BlkIOStat::default()
    }
}

/// `8:0 Read 4096`, or `8:0 4096` where there is no operation; the closing `Total 4096` has no device.
fn parse_blkio(text: &str) -> Vec<BlkIOEntry> {
    let parse = |line: &str| {
        let (major, rest) = line.split_once(':')?;
        let mut fields = rest.split_whitespace();
        let minor = fields.next()?.parse().ok()?;
        let (op, value) = match (fields.next()?, fields.next()) {
            (op, Some(value)) => (op, value),
            (value, None) => ("", value),
        };
        Some(BlkIOEntry {
            op: op.to_owned(),
            device: device(major, minor),
            major: major.parse().ok()?,
            minor,
            value: value.parse().ok()?,
            ..BlkIOEntry::default()
        })
    };
    text.lines().filter_map(parse).collect()
}

/// The device's file, by the name the kernel gives it.
fn device(major: &str, minor: u64) -> String {
    let link = fs::read_link(format!("/sys/dev/block/{major}:{minor}"));
    let name = link.ok().and_then(|path| path.file_name().map(|name| name.to_string_lossy().into_owned()));
    name.map(|name| format!("/dev/{name}")).unwrap_or_default()
}

fn hugetlb(dir: &Path) -> Vec<HugetlbStat> {
    let size = |entry: std::io::Result<fs::DirEntry>| {
        let name = entry.ok()?.file_name().into_string().ok()?;
        let size = name.strip_prefix("hugetlb.")?.strip_suffix(".usage_in_bytes")?;
        (!size.contains('.')).then(|| size.to_owned())
    };
    let mut sizes: Vec<String> = fs::read_dir(dir).into_iter().flatten().filter_map(size).collect();
    sizes.sort();
    let read = |size: String| {
        let get = |what: &str| number(dir, &format!("hugetlb.{size}.{what}")).unwrap_or_default();
        HugetlbStat {
            usage: get("usage_in_bytes"),
            max: get("max_usage_in_bytes"),
            failcnt: get("failcnt"),
            pagesize: size.clone(),
            ..HugetlbStat::default()
        }
    };
    sizes.into_iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_container() {
        let root = tempfile::tempdir().unwrap();
        let mut dirs = BTreeMap::new();
        for (controller, file, content) in [
            ("pids", "pids.current", "2\n"),
            ("pids", "pids.max", "max\n"),
            ("cpuacct", "cpuacct.usage", "1000\n"),
            ("cpuacct", "cpuacct.stat", "user 3\nsystem 4\n"),
            ("cpuacct", "cpuacct.usage_percpu", "600 400 \n"),
            ("cpu", "cpu.stat", "nr_periods 5\nnr_throttled 1\nthrottled_time 7\n"),
            ("memory", "memory.stat", "cache 11\nrss 12\ntotal_rss 13\nhierarchical_memory_limit 99\n"),
            ("memory", "memory.usage_in_bytes", "4096\n"),
            ("memory", "memory.limit_in_bytes", "8192\n"),
            ("memory", "memory.oom_control", "oom_kill_disable 0\nunder_oom 1\noom_kill 2\n"),
            ("blkio", "blkio.throttle.io_service_bytes", "8:0 Read 1\n8:0 Write 2\nTotal 3\n"),
        ] {
            let dir = root.path().join(controller);
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join(file), content).unwrap();
            dirs.insert(controller.to_owned(), dir);
        }
        let metrics = read(&dirs).unwrap();
        assert_eq!((metrics.pids.current, metrics.pids.limit), (2, 0));
        let usage = &metrics.cpu.usage;
        assert_eq!((usage.total, usage.user, usage.kernel), (1000, 30_000_000, 40_000_000));
        assert_eq!(usage.per_cpu, [600, 400]);
        assert_eq!(metrics.cpu.throttling.throttled_time, 7);
        assert_eq!((metrics.memory.total_rss, metrics.memory.usage.limit), (13, 8192));
        assert!(metrics.memory.swap.is_none());
        assert_eq!(metrics.memory_oom_control.oom_kill, 2);
        let blkio = &metrics.blkio.io_service_bytes_recursive;
        assert_eq!(blkio.len(), 2);
        assert_eq!((blkio[1].op.as_str(), blkio[1].major, blkio[1].value), ("Write", 8, 2));
        drop(root);
        assert!(read(&dirs).unwrap_err().is_not_found());
    }
}
