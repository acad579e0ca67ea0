//! When to collect: containerd's rules and defaults (docs/garbage-collection.md).

use std::time::Duration;

/// The shortest collection that counts, so that quick ones do not follow one another.
const SHORTEST: Duration = Duration::from_millis(5);
/// Until the first collection is measured.
const FIRST_INTERVAL: Duration = Duration::from_secs(1);

/// When to collect.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// The share of time that collections may take, 0 to 0.5.
    pub pause_threshold: f64,
    /// Deletions after which a collection comes at once; 0: it comes when the share of time allows.
    pub deletion_threshold: u64,
    /// Changes of any sort after which a collection comes; 0: they bring none.
    pub mutation_threshold: u64,
    /// How long a collection that is due is put off.
    pub schedule_delay: Duration,
    /// How long after the start the first one comes.
    pub startup_delay: Duration,
    /// How long after one that failed or left something behind the next one comes, beside the pause that keeps the share of time.
    pub retry_delay: Duration,
}

impl Default for Schedule {
    fn default() -> Schedule {
        Schedule {
            pause_threshold: 0.02,
            deletion_threshold: 0,
            mutation_threshold: 100,
            schedule_delay: Duration::ZERO,
            startup_delay: Duration::from_millis(100),
            retry_delay: Duration::from_secs(1),
        }
    }
}

/// Keeps collections below their share of time.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    spent: Duration,
    collections: u32,
}

impl Pace {
    pub(crate) fn collected(&mut self, took: Duration) {
        self.spent += took;
        self.collections += 1;
    }

    /// The pause between collections that the share allows, by the average so far.
    pub(crate) fn interval(&self, share: f64) -> Duration {
        if self.collections == 0 || share <= 0.0 {
            return FIRST_INTERVAL;
        }
        let average = (self.spent / self.collections).max(SHORTEST);
        average.mul_f64(1.0 / share.min(0.5) - 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_keep_the_share() {
        let mut pace = Pace::default();
        assert_eq!(pace.interval(0.02), FIRST_INTERVAL);
        pace.collected(Duration::from_micros(10));
        assert_eq!(pace.interval(0.02), Duration::from_millis(245));
        pace.collected(Duration::from_millis(200));
        // About 100 ms on average: 4.9 s between collections make 2 %.
        let interval = pace.interval(0.02);
        assert!(
            (Duration::from_millis(4850)..Duration::from_millis(4950)).contains(&interval),
            "{interval:?}"
        );
        assert!(pace.interval(7.0) < Duration::from_millis(150));
    }
}
