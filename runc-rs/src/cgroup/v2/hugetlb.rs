//! Controller hugetlb: `hugetlb.<size>.max`.

use std::path::Path;

use oci::runtime::LinuxResources;

use crate::cgroup::stats::Hugetlb;
use crate::cgroup::{Error, Result, Stats, file, hugepages};

/// Applies `hugepageLimits`.
pub fn set(dir: &Path, resources: &LinuxResources) -> Result<()> {
    for limit in resources.hugepage_limits().iter().flatten() {
        match hugepages::set_limit(dir, limit, "max") {
            Err(e) if e.is_not_found() && dir.exists() => {
                let what = format!("hugepageLimits {}", limit.page_size());
                return Err(Error::NoController { controller: "hugetlb".into(), what });
            }
            done => done?,
        }
    }
    Ok(())
}

/// Reads the counters of every page size that the controller knows.
pub fn stats(dir: &Path, stats: &mut Stats) -> Result<()> {
    for size in hugepages::sizes() {
        let get = |suffix: &str| file::optional(file::read_u64(dir, &format!("hugetlb.{size}.{suffix}")));
        let usage = match get("rsvd.current")? {
            Some(usage) => Some(usage),
            None => get("current")?,
        };
        let Some(usage) = usage else { continue };
        let events =
            file::optional(file::read_keyed(dir, &format!("hugetlb.{size}.events")))?.unwrap_or_default();
        let failcnt = events.get("max").copied().unwrap_or_default();
        stats.hugetlb.insert(size, Hugetlb { usage, max: 0, failcnt });
    }
    Ok(())
}
