//! `io.containerd.cgroups.v2.Metrics` (Documentation/admin-guide/cgroup-v2.rst). A controller that is not
//! enabled reads as zero.

use std::fs;
use std::path::Path;

use errors::Result;
use proto_shim::MessageField;
use proto_shim::metrics::v2::{
    CPUStat, HugeTlbStat, IOEntry, IOStat, MemoryEvents, MemoryStat, Metrics, PSIData, PSIStats, PidsStat,
    RdmaEntry, RdmaStat,
};

use crate::cgroup::{must_exist, number, table, text};

/// Reads all of it.
///
/// # Errors
/// NotFound if the cgroup is gone.
pub(super) fn read(dir: &Path) -> Result<Metrics> {
    must_exist(dir)?;
    Ok(Metrics {
        pids: MessageField::some(PidsStat {
            current: number(dir, "pids.current").unwrap_or_default(),
            limit: limit(dir, "pids.max"),
            ..PidsStat::default()
        }),
        cpu: MessageField::some(cpu(dir)),
        memory: MessageField::some(memory(dir)),
        memory_events: memory_events(dir).into(),
        io: MessageField::some(IOStat {
            usage: parse_io(&text(dir, "io.stat")),
            psi: psi(dir, "io.pressure"),
            ..IOStat::default()
        }),
        rdma: MessageField::some(RdmaStat {
            current: parse_rdma(&text(dir, "rdma.current")),
            limit: parse_rdma(&text(dir, "rdma.max")),
            ..RdmaStat::default()
        }),
        hugetlb: hugetlb(dir),
        ..Metrics::default()
    })
}

/// A limit that is not there is none.
fn limit(dir: &Path, file: &str) -> u64 {
    number(dir, file).unwrap_or_default()
}

fn cpu(dir: &Path) -> CPUStat {
    let stat = table(dir, "cpu.stat");
    let get = |key: &str| stat.get(key).copied().unwrap_or_default();
    CPUStat {
        usage_usec: get("usage_usec"),
        user_usec: get("user_usec"),
        system_usec: get("system_usec"),
        nr_periods: get("nr_periods"),
        nr_throttled: get("nr_throttled"),
        throttled_usec: get("throttled_usec"),
        nr_bursts: get("nr_bursts"),
        burst_usec: get("burst_usec"),
        psi: psi(dir, "cpu.pressure"),
        ..CPUStat::default()
    }
}

fn memory(dir: &Path) -> MemoryStat {
    let stat = table(dir, "memory.stat");
    let get = |key: &str| stat.get(key).copied().unwrap_or_default();
    MemoryStat {
        anon: get("anon"),
        file: get("file"),
        kernel_stack: get("kernel_stack"),
        slab: get("slab"),
        sock: get("sock"),
        shmem: get("shmem"),
        file_mapped: get("file_mapped"),
        file_dirty: get("file_dirty"),
        file_writeback: get("file_writeback"),
        anon_thp: get("anon_thp"),
        inactive_anon: get("inactive_anon"),
        active_anon: get("active_anon"),
        inactive_file: get("inactive_file"),
        active_file: get("active_file"),
        unevictable: get("unevictable"),
        slab_reclaimable: get("slab_reclaimable"),
        slab_unreclaimable: get("slab_unreclaimable"),
        pgfault: get("pgfault"),
        pgmajfault: get("pgmajfault"),
        workingset_refault: get("workingset_refault")
            + get("workingset_refault_anon")
            + get("workingset_refault_file"),
        workingset_activate: get("workingset_activate")
            + get("workingset_activate_anon")
            + get("workingset_activate_file"),
        workingset_nodereclaim: get("workingset_nodereclaim"),
        pgrefill: get("pgrefill"),
        pgscan: get("pgscan"),
        pgsteal: get("pgsteal"),
        pgactivate: get("pgactivate"),
        pgdeactivate: get("pgdeactivate"),
        pglazyfree: get("pglazyfree"),
        pglazyfreed: get("pglazyfreed"),
        thp_fault_alloc: get("thp_fault_alloc"),
        thp_collapse_alloc: get("thp_collapse_alloc"),
        usage: limit(dir, "memory.current"),
        usage_limit: limit(dir, "memory.max"),
        swap_usage: limit(dir, "memory.swap.current"),
        swap_limit: limit(dir, "memory.swap.max"),
        max_usage: limit(dir, "memory.peak"),
        swap_max_usage: limit(dir, "memory.swap.peak"),
        psi: psi(dir, "memory.pressure"),
        ..MemoryStat::default()
    }
}

fn memory_events(dir: &Path) -> Option<MemoryEvents> {
    let events = table(dir, "memory.events");
    let get = |key: &str| events.get(key).copied().unwrap_or_default();
    (!events.is_empty()).then(|| MemoryEvents {
        low: get("low"),
        high: get("high"),
        max: get("max"),
        oom: get("oom"),
        oom_kill: get("oom_kill"),
        oom_group_kill: get("oom_group_kill"),
        ..MemoryEvents::default()
    })
}

fn psi(dir: &Path, file: &str) -> MessageField<PSIStats> {
    parse_psi(&text(dir, file)).into()
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`
fn parse_psi(text: &str) -> Option<PSIStats> {
    let mut stats = PSIStats::default();
    for line in text.lines() {
        let (kind, rest) = line.split_once(' ')?;
        let mut data = PSIData::default();
        for (key, value) in rest.split(' ').filter_map(|field| field.split_once('=')) {
            match key {
                "avg10" => data.avg10 = value.parse().unwrap_or_default(),
                "avg60" => data.avg60 = value.parse().unwrap_or_default(),
                "avg300" => data.avg300 = value.parse().unwrap_or_default(),
                "total" => data.total = value.parse().unwrap_or_default(),
                _ => {}
            }
        }
        match kind {
            "some" => stats.some = MessageField::some(data),
            "full" => stats.full = MessageField::some(data),
            _ => {}
        }
    }
    (stats.some.is_some() || stats.full.is_some()).then_some(stats)
}

/// `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0`
fn parse_io(text: &str) -> Vec<IOEntry> {
    let parse = |line: &str| {
        let mut fields = line.split(' ');
        let (major, minor) = fields.next()?.split_once(':')?;
        let mut entry =
            IOEntry { major: major.parse().ok()?, minor: minor.parse().ok()?, ..IOEntry::default() };
        for (key, value) in fields.filter_map(|field| field.split_once('=')) {
            let value = value.parse().unwrap_or_default();
            match key {
                "rbytes" => entry.rbytes = value,
                "wbytes" => entry.wbytes = value,
                "rios" => entry.rios = value,
                "wios" => entry.wios = value,
                _ => {}
            }
        }
        Some(entry)
    };
    text.lines().filter_map(parse).collect()
}

/// `mlx4_0 hca_handle=2 hca_object=max`
fn parse_rdma(text: &str) -> Vec<RdmaEntry> {
    let count = |value: &str| if value == "max" { u32::MAX } else { value.parse().unwrap_or_default() };
    let parse = |line: &str| {
        let mut fields = line.split(' ');
        let mut entry = RdmaEntry { device: fields.next()?.to_owned(), ..RdmaEntry::default() };
        for (key, value) in fields.filter_map(|field| field.split_once('=')) {
            match key {
                "hca_handle" => entry.hca_handles = count(value),
                "hca_object" => entry.hca_objects = count(value),
                _ => {}
            }
        }
        Some(entry)
    };
    text.lines().filter_map(parse).collect()
}

fn hugetlb(dir: &Path) -> Vec<HugeTlbStat> {
    let size = |entry: std::io::Result<fs::DirEntry>| {
        let name = entry.ok()?.file_name().into_string().ok()?;
        name.strip_prefix("hugetlb.")?
            .strip_suffix(".max")
            .filter(|size| !size.contains('.'))
            .map(str::to_owned)
    };
    let mut sizes: Vec<String> = fs::read_dir(dir).into_iter().flatten().filter_map(size).collect();
    sizes.sort();
    let read = |size: String| HugeTlbStat {
        current: limit(dir, &format!("hugetlb.{size}.current")),
        max: limit(dir, &format!("hugetlb.{size}.max")),
        failcnt: table(dir, &format!("hugetlb.{size}.events")).get("max").copied().unwrap_or_default(),
        pagesize: size,
        ..HugeTlbStat::default()
    };
    sizes.into_iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_cgroup() {
        let dir = tempfile::tempdir().unwrap();
        for (file, content) in [
            ("pids.current", "3\n"),
            ("pids.max", "max\n"),
            ("cpu.stat", "usage_usec 10\nuser_usec 6\nsystem_usec 4\nnr_throttled 1\n"),
            ("cpu.pressure", "some avg10=1.50 avg60=0.00 avg300=0.00 total=99\n"),
            ("memory.current", "4096\n"),
            ("memory.max", "8192\n"),
            ("memory.stat", "anon 100\nfile 200\n"),
            ("memory.events", "low 0\noom 2\noom_kill 1\n"),
            ("io.stat", "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\n"),
            ("hugetlb.2MB.max", "max\n"),
            ("hugetlb.2MB.rsvd.max", "max\n"),
            ("hugetlb.2MB.current", "0\n"),
        ] {
            fs::write(dir.path().join(file), content).unwrap();
        }
        let metrics = read(dir.path()).unwrap();
        assert_eq!((metrics.pids.current, metrics.pids.limit), (3, u64::MAX));
        assert_eq!((metrics.cpu.usage_usec, metrics.cpu.nr_throttled), (10, 1));
        assert_eq!((metrics.cpu.psi.some.avg10, metrics.cpu.psi.some.total), (1.5, 99));
        assert_eq!(
            (metrics.memory.anon, metrics.memory.usage, metrics.memory.usage_limit),
            (100, 4096, 8192)
        );
        assert_eq!((metrics.memory_events.oom, metrics.memory_events.oom_kill), (2, 1));
        assert_eq!((metrics.io.usage[0].major, metrics.io.usage[0].wios), (8, 4));
        assert_eq!(metrics.hugetlb.len(), 1);
        assert_eq!(metrics.hugetlb[0].pagesize, "2MB");
        assert!(read(&dir.path().join("gone")).unwrap_err().is_not_found());
    }

    #[test]
    fn rdma_lines() {
        let entries = parse_rdma("mlx4_0 hca_handle=2 hca_object=max\n");
        assert_eq!(
            (entries[0].device.as_str(), entries[0].hca_handles, entries[0].hca_objects),
            ("mlx4_0", 2, u32::MAX)
        );
    }
}
