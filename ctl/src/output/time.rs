//! docker's words for how long ago, and how large.

use std::time::{Duration, SystemTime};

/// How long ago.
pub fn ago(at: Option<prost_types::Timestamp>) -> String {
    let Some(at) = at.and_then(system_time) else { return "N/A".to_owned() };
    format!("{} ago", human::duration(at.elapsed().unwrap_or_default()))
}

/// docker's way to write a time: 2026-01-02 15:04:05 +0000 UTC.
pub fn stamp(at: Option<prost_types::Timestamp>) -> String {
    let format = time::macros::format_description!("[year]-[month]-[day] [hour]:[minute]:[second] +0000 UTC");
    let time = at.and_then(system_time).map(time::OffsetDateTime::from);
    time.and_then(|time| time.format(format).ok()).unwrap_or_else(|| "N/A".to_owned())
}

/// A protobuf time, as the clock has it.
pub fn system_time(at: prost_types::Timestamp) -> Option<SystemTime> {
    let nanos = u32::try_from(at.nanos).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::new(u64::try_from(at.seconds).ok()?, nanos))
}

/// Bytes with four digits and powers of a thousand (docker `units.HumanSizeWithPrecision`).
pub fn human_size(bytes: i64) -> String {
    let mut value = bytes as f64;
    let mut unit = 0;
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{}{}", significant(value, 3), UNITS[unit])
}

/// Bytes with four digits and powers of 1024 (docker `units.BytesSize`).
pub fn binary_size(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = 0;
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{}{}", significant(value, 4), UNITS[unit])
}

/// Go's %.Ng for values that need no exponent: so many digits, no zeroes at the end.
fn significant(value: f64, digits: usize) -> String {
    let before = if value >= 1.0 { value.log10().floor() as usize + 1 } else { 1 };
    let text = format!("{value:.*}", digits.saturating_sub(before));
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// Go's durations: 1h30m, 42m, 10s, 500ms.
pub fn go_duration(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        let unit_end = rest[digits..]
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .map_or(rest.len(), |at| digits + at);
        let seconds = match &rest[digits..unit_end] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 0.001,
            "us" => 0.000_001,
            "ns" => 0.000_000_001,
            _ => return None,
        };
        total = total.checked_add(Duration::try_from_secs_f64(number * seconds).ok()?)?;
        rest = &rest[unit_end..];
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_dockers() {
        for (bytes, text) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1kB"),
            (4_261_550, "4.26MB"),
            (77_800_000, "77.8MB"),
            (1_500_000_000, "1.5GB"),
        ] {
            assert_eq!(human_size(bytes), text);
        }
        assert_eq!(binary_size(1536), "1.5KiB");
        assert_eq!(binary_size(7_725_056), "7.367MiB");
    }

    #[test]
    fn durations_are_gos() {
        assert_eq!(go_duration("1h30m"), Some(Duration::from_secs(5400)));
        assert_eq!(go_duration("1.5s"), Some(Duration::from_millis(1500)));
        assert_eq!(go_duration("3"), None);
        assert_eq!(go_duration("3x"), None);
    }
}
