//! The capabilities that the daemon itself has: more than that it cannot give to a container.

use errors::{Context, Error, Result};

/// The daemon's permitted capabilities by name (capabilities(7)), in the kernel's order.
pub fn own() -> Result<Vec<String>> {
    let path = "/proc/self/status";
    let text = std::fs::read_to_string(path).context(|| format!("read {path}"))?;
    let mask = text
        .lines()
        .find_map(|line| u64::from_str_radix(line.strip_prefix("CapPrm:")?.trim(), 16).ok())
        .ok_or_else(|| Error::internal(format!("{path} has no CapPrm")))?;
    Ok(oci::capability::ALL
        .iter()
        .enumerate()
        .filter(|(bit, _)| mask & (1 << bit) != 0)
        .map(|(_, name)| name.to_string())
        .collect())
}

#[cfg(test)]
mod tests {
    #[test]
    fn root_may_change_owners() {
        let own = super::own().unwrap();
        assert!(own.contains(&"CAP_CHOWN".to_owned()), "{own:?}");
    }
}
