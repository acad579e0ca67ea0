//! Controller io: `io.weight` or BFQ's, `io.max`.

use std::path::Path;

use oci::runtime::{LinuxBlockIo, LinuxResources};

use super::write_limit;
use crate::cgroup::stats::BlkioEntry;
use crate::cgroup::{Error, Result, Stats, file};

/// Where weights by device go.
pub const BFQ: &str = "io.bfq.weight";

/// Applies config.json's `blockIO`. Leaf weights do not exist on version 2.
pub fn set(dir: &Path, resources: &LinuxResources) -> Result<()> {
    let Some(io) = resources.block_io() else { return Ok(()) };
    set_weights(dir, io)?;
    for (key, field, devices) in [
        ("rbps", "throttleReadBpsDevice", io.throttle_read_bps_device()),
        ("wbps", "throttleWriteBpsDevice", io.throttle_write_bps_device()),
        ("riops", "throttleReadIOPSDevice", io.throttle_read_iops_device()),
        ("wiops", "throttleWriteIOPSDevice", io.throttle_write_iops_device()),
    ] {
        for device in devices.iter().flatten() {
            let rate = if device.rate() == 0 { "max".into() } else { device.rate().to_string() };
            let line = format!("{}:{} {key}={rate}", device.major(), device.minor());
            write_limit(dir, "io.max", &line, &format!("blockIO.{field}"))?;
        }
    }
    Ok(())
}

fn set_weights(dir: &Path, io: &LinuxBlockIo) -> Result<()> {
    let bfq = dir.join(BFQ).exists();
    if let Some(weight) = io.weight().filter(|weight| *weight != 0) {
        if bfq {
            file::write(dir, BFQ, &weight.to_string())?;
        } else {
            write_limit(dir, "io.weight", &io_weight(weight)?.to_string(), "blockIO.weight")?;
        }
    }
    for device in io.weight_device().iter().flatten().filter(|_| bfq) {
        if let Some(weight) = device.weight().filter(|weight| *weight != 0) {
            file::write(dir, BFQ, &format!("{}:{} {weight}", device.major(), device.minor()))?;
        }
    }
    Ok(())
}

/// A version 1 weight (10..=1000) as one of version 2 (1..=10000), on a straight line.
pub fn io_weight(weight: u16) -> Result<u64> {
    if !(10..=1000).contains(&weight) {
        return Err(Error::invalid("blockIO.weight", format!("{weight} is not in 10..1000")));
    }
    Ok(1 + (u64::from(weight) - 10) * 9999 / 990)
}

/// Reads bytes and requests by device.
pub fn stats(dir: &Path, stats: &mut Stats) -> Result<()> {
    let Some(text) = file::optional(file::read(dir, "io.stat"))? else { return Ok(()) };
    for (device, figures) in text.lines().filter_map(|line| line.split_once(' ')) {
        let Some((major, minor)) = device.split_once(':') else { continue };
        let major = file::parse(dir, "io.stat", major)?;
        let minor = file::parse(dir, "io.stat", minor)?;
        for (key, value) in figures.split_ascii_whitespace().filter_map(|f| f.split_once('=')) {
            let (table, op) = match key {
                "rbytes" => (&mut stats.blkio.io_service_bytes_recursive, "Read"),
                "wbytes" => (&mut stats.blkio.io_service_bytes_recursive, "Write"),
                "rios" => (&mut stats.blkio.io_serviced_recursive, "Read"),
                "wios" => (&mut stats.blkio.io_serviced_recursive, "Write"),
                _ => continue,
            };
            let value = file::parse(dir, "io.stat", value)?;
            table.push(BlkioEntry { major, minor, op: op.into(), value });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_on_a_straight_line() {
        assert_eq!((io_weight(10).unwrap(), io_weight(1000).unwrap()), (1, 10_000));
        assert!(io_weight(9).is_err());
    }
}
