//! Controller hugetlb (Documentation/admin-guide/cgroup-v1/hugetlb.rst).

use std::path::Path;

use oci::runtime::LinuxResources;

use super::need;
use crate::cgroup::stats::Hugetlb;
use crate::cgroup::{Result, Stats, file, hugepages};

/// Applies `hugepageLimits`, on use and, where the kernel has it, on reservation.
pub fn set(dir: Option<&Path>, resources: &LinuxResources) -> Result<()> {
    for limit in resources.hugepage_limits().iter().flatten() {
        let dir = need(dir, "hugetlb", "hugepageLimits")?;
        hugepages::set_limit(dir, limit, "limit_in_bytes")?;
    }
    Ok(())
}

/// Reads the counters of every page size.
pub fn stats(dir: &Path, stats: &mut Stats) -> Result<()> {
    for size in hugepages::sizes() {
        let rsvd = format!("hugetlb.{size}.rsvd");
        let plain = format!("hugetlb.{size}");
        let prefix = if dir.join(format!("{rsvd}.usage_in_bytes")).exists() { rsvd } else { plain };
        let get = |suffix: &str| file::read_u64(dir, &format!("{prefix}.{suffix}"));
        let entry = Hugetlb {
            usage: get("usage_in_bytes")?,
            max: get("max_usage_in_bytes")?,
            failcnt: get("failcnt")?,
        };
        stats.hugetlb.insert(size, entry);
    }
    Ok(())
}
