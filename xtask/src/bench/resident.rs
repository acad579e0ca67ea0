//! Resident memory of processes.

use std::ops::{Add, Sub};
use std::time::Duration;

use anyhow::{Context, Result};

/// KiB of one or more processes: RSS counts shared pages in full, PSS each one's share of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Resident {
    /// Resident set.
    pub rss: i64,
    /// Proportional set.
    pub pss: i64,
}

/// What every stack has to give memory back in: our daemon looks every ten seconds, collectors of garbage when they see fit. Nothing tells.
const CALM: Duration = Duration::from_secs(12);

/// Lets everybody come to rest before memory is read.
pub fn calm() {
    std::thread::sleep(CALM);
}

impl Resident {
    /// Of a process now.
    pub fn of(pid: u32) -> Result<Resident> {
        let file = format!("/proc/{pid}/smaps_rollup");
        let text = std::fs::read_to_string(&file).with_context(|| format!("read {file}"))?;
        Ok(Resident { rss: kib(&text, "Rss:")?, pss: kib(&text, "Pss:")? })
    }

    /// Of all these; those that have ended meanwhile count nothing.
    pub fn of_all(pids: &[u32]) -> Resident {
        pids.iter().filter_map(|pid| Resident::of(*pid).ok()).fold(Resident::default(), Add::add)
    }
}

impl Add for Resident {
    type Output = Resident;

    fn add(self, other: Resident) -> Resident {
        Resident { rss: self.rss + other.rss, pss: self.pss + other.pss }
    }
}

impl Sub for Resident {
    type Output = Resident;

    fn sub(self, other: Resident) -> Resident {
        Resident { rss: self.rss - other.rss, pss: self.pss - other.pss }
    }
}

/// What the machine could still give out, in KiB: the difference holds what the kernel needs for a container too.
pub fn available() -> Result<i64> {
    kib(&std::fs::read_to_string("/proc/meminfo").context("read /proc/meminfo")?, "MemAvailable:")
}

/// The CPU time of a process: of its threads that have not ended.
pub fn cpu_time(pid: u32) -> Result<Duration> {
    let folder = format!("/proc/{pid}/task");
    let mut nanos = 0;
    for entry in std::fs::read_dir(&folder).with_context(|| format!("read {folder}"))?.flatten() {
        // A thread may have ended meanwhile.
        let text = std::fs::read_to_string(entry.path().join("schedstat")).unwrap_or_default();
        nanos += text.split(' ').next().and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(Duration::from_nanos(nanos))
}

/// MB of 1,000,000 bytes, as the goals count.
pub fn megabytes(kib: i64) -> f64 {
    kib as f64 * 1024.0 / 1e6
}

fn kib(text: &str, name: &str) -> Result<i64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .with_context(|| format!("{name} is not there"))?;
    Ok(line.trim().trim_end_matches("kB").trim().parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_read() {
        let text = "7f00-7fff ---p 00000000 00:00 0 [rollup]\nRss:                1234 kB\nPss:                 567 kB\nPss_Dirty: 1 kB\n";
        assert_eq!(kib(text, "Pss:").unwrap(), 567);
        assert!(kib(text, "Swap:").is_err());
    }

    #[test]
    fn a_process_shares_and_so_has_no_more_than_it_shows() {
        let own = Resident::of(std::process::id()).unwrap();
        assert!(own.pss > 0 && own.pss <= own.rss, "{own:?}");
        assert_eq!(Resident::of_all(&[u32::MAX]), Resident::default());
    }
}
