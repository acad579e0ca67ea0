//! Moving network interfaces into a new container (config-linux.md, "Network Devices"), with their addresses.

use std::os::fd::{AsFd, OwnedFd};

use nix::sched::{CloneFlags, setns};
use rustix::fs::{Mode, OFlags};

use crate::error::{Context, Error, Result};
use crate::plan::net_devices::NetDevice;
use crate::rtnetlink::Rtnetlink;

/// Moves them into the network namespace of process `pid`, and sets them up there.
pub fn move_all(devices: &[NetDevice], pid: i32) -> Result<()> {
    if devices.is_empty() {
        return Ok(());
    }
    let there = namespace(&format!("/proc/{pid}/ns/net"))?;
    let mut host = Rtnetlink::open()?;
    let mut container = open_in(&there)?;
    for device in devices {
        move_one(device, &there, &mut host, &mut container)
            .with_context(|| format!("linux.netDevices {}", device.host))?;
    }
    Ok(())
}

fn move_one(
    device: &NetDevice,
    there: &OwnedFd,
    host: &mut Rtnetlink,
    container: &mut Rtnetlink,
) -> Result<()> {
    let index = host.index(&device.host)?;
    let addresses = host.addresses(index)?;
    host.move_to(index, there.as_fd(), &device.name)?;
    // It may have got another index there.
    let index = container.index(&device.name)?;
    addresses.iter().try_for_each(|address| container.add_address(index, address))?;
    container.set_up(index)
}

/// A table of another network namespace: a socket belongs to the namespace in which it was opened.
fn open_in(there: &OwnedFd) -> Result<Rtnetlink> {
    let here = namespace("/proc/self/ns/net")?;
    let enter = |fd: &OwnedFd| {
        setns(fd, CloneFlags::CLONE_NEWNET).map_err(|e| Error::call("setns to a network namespace", e))
    };
    enter(there)?;
    let opened = Rtnetlink::open();
    enter(&here)?;
    opened
}

fn namespace(path: &str) -> Result<OwnedFd> {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|e| Error::call(format_args!("open {path}"), e))
}
