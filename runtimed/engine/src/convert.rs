//! Small conversions that several services share.

use std::time::{Duration, SystemTime};

use prost_types::Timestamp;

/// A point in time as protobuf has it.
pub fn timestamp(at: SystemTime) -> Timestamp {
    Timestamp::from(at)
}

/// A point in time from protobuf; one that no clock can show is left out.
pub fn system_time(at: Timestamp) -> Option<SystemTime> {
    let seconds = u64::try_from(at.seconds).ok()?;
    let nanos = u32::try_from(at.nanos).ok().filter(|nanos| *nanos < 1_000_000_000)?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, nanos))
}

/// How long ago, in docker's words; a clock that went back counts as now.
pub fn ago(at: SystemTime) -> String {
    human::duration(at.elapsed().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_outside_the_clock_are_left_out() {
        assert_eq!(system_time(Timestamp { seconds: -1, nanos: 0 }), None);
        assert_eq!(system_time(Timestamp { seconds: 1, nanos: -1 }), None);
        let now = SystemTime::now();
        assert_eq!(system_time(timestamp(now)), Some(now));
    }
}
