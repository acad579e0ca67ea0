//! Controller pids, the same on both versions.

use std::path::Path;

use super::{Result, Stats, file};

/// What is written to `pids.max`: a negative limit is none; nought becomes 1, since nothing could start otherwise and
/// systemd's property refuses it (runtime-spec 1.3 makes nought a limit).
pub fn max_of(limit: i64) -> String {
    match limit {
        0 => "1".into(),
        1.. => limit.to_string(),
        _ => "max".into(),
    }
}

/// Reads count and limit; no limit is 0.
pub fn stats(dir: &Path, stats: &mut Stats) -> Result<()> {
    stats.pids.current = file::read_u64(dir, "pids.current")?;
    stats.pids.limit = match file::read_u64(dir, "pids.max")? {
        u64::MAX => 0,
        limit => limit,
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits() {
        assert_eq!((max_of(7), max_of(0), max_of(-1)), ("7".into(), "1".into(), "max".into()));
    }
}
