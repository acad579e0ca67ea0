//! Controller blkio (Documentation/admin-guide/cgroup-v1/blkio-controller.rst).

use std::path::Path;

use oci::runtime::{LinuxBlockIo, LinuxResources};

use super::need;
use crate::cgroup::stats::{Blkio, BlkioEntry};
use crate::cgroup::{Result, Stats, file};

/// Applies config.json's `blockIO`.
pub fn set(dir: Option<&Path>, resources: &LinuxResources) -> Result<()> {
    let Some(io) = resources.block_io() else { return Ok(()) };
    set_weights(dir, io)?;
    for (name, field, devices) in [
        ("blkio.throttle.read_bps_device", "throttleReadBpsDevice", io.throttle_read_bps_device()),
        ("blkio.throttle.write_bps_device", "throttleWriteBpsDevice", io.throttle_write_bps_device()),
        ("blkio.throttle.read_iops_device", "throttleReadIOPSDevice", io.throttle_read_iops_device()),
        ("blkio.throttle.write_iops_device", "throttleWriteIOPSDevice", io.throttle_write_iops_device()),
    ] {
        for device in devices.iter().flatten() {
            let line = format!("{}:{} {}", device.major(), device.minor(), device.rate());
            file::write(need(dir, "blkio", &format!("blockIO.{field}"))?, name, &line)?;
        }
    }
    Ok(())
}

fn set_weights(dir: Option<&Path>, io: &LinuxBlockIo) -> Result<()> {
    let dir = |field: &str| need(dir, "blkio", field);
    if let Some(weight) = nonzero(io.weight()) {
        let dir = dir("blockIO.weight")?;
        file::write(dir, &weight_file(dir), &weight.to_string())?;
    }
    if let Some(weight) = nonzero(io.leaf_weight()) {
        file::write(dir("blockIO.leafWeight")?, "blkio.leaf_weight", &weight.to_string())?;
    }
    for device in io.weight_device().iter().flatten() {
        let dir = dir("blockIO.weightDevice")?;
        let line = |weight: u16| format!("{}:{} {weight}", device.major(), device.minor());
        if let Some(weight) = nonzero(device.weight()) {
            file::write(dir, &format!("{}_device", weight_file(dir)), &line(weight))?;
        }
        if let Some(weight) = nonzero(device.leaf_weight()) {
            file::write(dir, "blkio.leaf_weight_device", &line(weight))?;
        }
    }
    Ok(())
}

/// Kernels since 5.0 have weights only in the BFQ scheduler.
fn weight_file(dir: &Path) -> String {
    let plain = "blkio.weight";
    if dir.join(plain).exists() { plain.into() } else { "blkio.bfq.weight".into() }
}

fn nonzero(value: Option<u16>) -> Option<u16> {
    value.filter(|value| *value != 0)
}

/// Reads the counters of the first scheduler that has any: BFQ, CFQ, or the throttling layer.
pub fn stats(dir: &Path, stats: &mut Stats) -> Result<()> {
    for prefix in ["blkio.bfq.", "blkio."] {
        let io = read_scheduler(dir, prefix)?;
        if !io.io_serviced_recursive.is_empty() {
            stats.blkio = io;
            return Ok(());
        }
    }
    for suffix in ["_recursive", ""] {
        let serviced = read_table(dir, &format!("blkio.throttle.io_serviced{suffix}"))?;
        if !serviced.is_empty() {
            stats.blkio.io_serviced_recursive = serviced;
            stats.blkio.io_service_bytes_recursive =
                read_table(dir, &format!("blkio.throttle.io_service_bytes{suffix}"))?;
            return Ok(());
        }
    }
    Ok(())
}

fn read_scheduler(dir: &Path, prefix: &str) -> Result<Blkio> {
    let table = |name: &str| read_table(dir, &format!("{prefix}{name}"));
    Ok(Blkio {
        io_service_bytes_recursive: table("io_service_bytes_recursive")?,
        io_serviced_recursive: table("io_serviced_recursive")?,
        io_queued_recursive: table("io_queued_recursive")?,
        io_service_time_recursive: table("io_service_time_recursive")?,
        io_wait_time_recursive: table("io_wait_time_recursive")?,
        io_merged_recursive: table("io_merged_recursive")?,
        io_time_recursive: table("time_recursive")?,
        sectors_recursive: table("sectors_recursive")?,
        psi: None,
    })
}

fn read_table(dir: &Path, name: &str) -> Result<Vec<BlkioEntry>> {
    let Some(text) = file::optional(file::read(dir, name))? else { return Ok(Vec::new()) };
    text.lines()
        .filter(|line| !line.starts_with("Total"))
        .map(|line| parse_entry(line).ok_or_else(|| file::malformed(dir, name, format!("line {line:?}"))))
        .collect()
}

/// `8:0 Read 1282048`, or without the operation.
fn parse_entry(line: &str) -> Option<BlkioEntry> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let (major, minor) = fields.first()?.split_once(':')?;
    let (op, value) = match fields[1..] {
        [op, value] => (op, value),
        [value] => ("", value),
        _ => return None,
    };
    Some(BlkioEntry {
        major: major.parse().ok()?,
        minor: minor.parse().ok()?,
        op: op.to_owned(),
        value: value.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries() {
        let entry = parse_entry("8:16 Read 42").unwrap();
        assert_eq!((entry.major, entry.minor, entry.op.as_str(), entry.value), (8, 16, "Read", 42));
        assert_eq!(parse_entry("8:0 7").unwrap().value, 7);
        assert_eq!(parse_entry("8 7"), None);
    }
}
