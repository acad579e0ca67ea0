//! The systemd driver, with a real systemd.

use anyhow::{Result, ensure};
use vm::Bundle;

#[test]
#[ignore = "cargo xtask vm-test runs it"]
fn a_container_is_a_scope() -> Result<()> {
    let bundle = Bundle::new(&["--systemd-cgroup"], "exec sleep 1000")?;
    bundle.start()?;
    let unit = format!("runc-{}.scope", bundle.id);
    let state = harness::sh::read(std::process::Command::new("systemctl").args(["is-active", &unit]))?;
    ensure!(state == "active\n", "{state}");
    Ok(())
}
