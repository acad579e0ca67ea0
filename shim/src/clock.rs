//! Wall-clock time on the wire and in text.

use std::time::{SystemTime, UNIX_EPOCH};

use proto_shim::Timestamp;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// As protobuf says it.
pub(crate) fn timestamp(at: SystemTime) -> Timestamp {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp {
        // Seconds of this era fit.
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(since.subsec_nanos()).unwrap_or_default(),
        ..Timestamp::default()
    }
}

/// What Go's zero time becomes in protobuf: how containerd's own shim says "not yet".
pub(crate) fn never() -> Timestamp {
    Timestamp { seconds: -62_135_596_800, ..Timestamp::default() }
}

/// As RFC 3339, in UTC.
pub(crate) fn text(at: SystemTime) -> String {
    OffsetDateTime::from(at).format(&Rfc3339).unwrap_or_default()
}

/// From RFC 3339.
pub(crate) fn parse(text: &str) -> Option<SystemTime> {
    OffsetDateTime::parse(text, &Rfc3339).ok().map(SystemTime::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        let at = parse("2024-05-06T07:08:09.123456789Z").unwrap();
        assert_eq!(text(at), "2024-05-06T07:08:09.123456789Z");
        let stamp = timestamp(at);
        assert_eq!((stamp.seconds, stamp.nanos), (1_714_979_289, 123_456_789));
        assert_eq!(parse("0001-01-01T00:00:00Z").map(timestamp).map(|stamp| stamp.seconds), Some(0));
    }
}
