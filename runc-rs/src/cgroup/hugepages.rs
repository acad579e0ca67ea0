//! Huge pages: which sizes the host has, as the hugetlb controller names them.

use std::path::Path;

use oci::runtime::LinuxHugepageLimit;

use super::{Error, Result, file};

/// Page sizes of the host (`2MB`, `1GB`).
pub fn sizes() -> Vec<String> {
    let Ok(entries) = std::fs::read_dir("/sys/kernel/mm/hugepages") else { return Vec::new() };
    let mut names: Vec<_> =
        entries.flatten().filter_map(|e| size_of(e.file_name().to_str().unwrap_or_default())).collect();
    names.sort();
    names
}

/// `hugepages-2048kB` is `2MB` to the controller (mm/hugetlb_cgroup.c, mem_fmt).
fn size_of(name: &str) -> Option<String> {
    let kilobytes: u64 = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
    Some(match kilobytes {
        1_048_576.. => format!("{}GB", kilobytes >> 20),
        1024.. => format!("{}MB", kilobytes >> 10),
        _ => format!("{kilobytes}KB"),
    })
}

/// Writes one limit to `hugetlb.<size>.<suffix>` and to its reservation twin where the kernel has one.
pub fn set_limit(dir: &Path, limit: &LinuxHugepageLimit, suffix: &str) -> Result<()> {
    let size = limit.page_size();
    if size.is_empty() || !size.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(Error::invalid("hugepageLimits", format!("{size:?} is not a page size")));
    }
    let value = limit.limit().to_string();
    file::write(dir, &format!("hugetlb.{size}.{suffix}"), &value)?;
    file::optional(file::write(dir, &format!("hugetlb.{size}.rsvd.{suffix}"), &value)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_as_the_controller_spells_them() {
        assert_eq!(size_of("hugepages-2048kB").unwrap(), "2MB");
        assert_eq!(size_of("hugepages-1048576kB").unwrap(), "1GB");
        assert_eq!(size_of("hugepages-64kB").unwrap(), "64KB");
        assert_eq!(size_of("hugepages-x"), None);
    }
}
