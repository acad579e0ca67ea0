//! Controller devices: `devices.list`, `devices.allow`, `devices.deny`
//! (Documentation/admin-guide/cgroup-v1/devices.rst).

use std::path::Path;

use oci::runtime::LinuxDeviceCgroup;

use super::need;
use crate::cgroup::device_rules::{Policy, Rule};
use crate::cgroup::{Error, Result, file};

/// Brings the cgroup from what it allows now to `rules` followed by the default rules, with as few changes as may be:
/// a running process should not see a device vanish and come back.
pub fn set(dir: Option<&Path>, rules: &[LinuxDeviceCgroup]) -> Result<()> {
    let dir = need(dir, "devices", "devices")?;
    let target = Policy::for_container(rules)?;
    for rule in current(dir)?.transition(&target) {
        let name = if rule.allow { "devices.allow" } else { "devices.deny" };
        file::write(dir, name, &rule.to_string())?;
    }
    verify(&current(dir)?, &target, dir)
}

fn current(dir: &Path) -> Result<Policy> {
    let list = file::read(dir, "devices.list")?;
    let rules = list.lines().map(|line| {
        Rule::parse_allowed(line)
            .ok_or_else(|| file::malformed(dir, "devices.list", format!("line {line:?}")))
    });
    Policy::from_rules(rules.collect::<Result<Vec<_>>>()?)
}

/// The kernel ignores some requests in silence, so what it made of them is compared. Exceptions of an allow-all
/// policy cannot be read back.
fn verify(got: &Policy, want: &Policy, dir: &Path) -> Result<()> {
    let same = if want.allows_by_default() { got.allows_by_default() } else { got == want };
    match same {
        true => Ok(()),
        false => Err(Error::invalid(
            "devices",
            format!("resulting devices cgroup {} does not match the rules asked for", dir.display()),
        )),
    }
}
