//! Sizes and durations as people write them on Go programs' command lines.

use std::time::Duration;

/// A size in bytes: a number, maybe with a fraction, and maybe a suffix (`k`, `MB`, `GiB`), which is always a power of
/// 1024. The rules of docker's units package, RAMInBytes.
pub fn ram_in_bytes(text: &str) -> Result<i64, String> {
    let invalid = || format!("invalid size: '{text}'");
    let end = text.rfind(|c: char| c.is_ascii_digit() || c == '.' || c == ' ').ok_or_else(invalid)? + 1;
    let (number, suffix) = (text[..end].trim_end(), &text[end..]);
    let number: f64 = number.parse().map_err(|_| invalid())?;
    if !number.is_finite() || number < 0.0 {
        return Err(invalid());
    }
    let shift =
        shift_of(&suffix.to_ascii_lowercase()).ok_or_else(|| format!("invalid suffix: '{suffix}'"))?;
    let bytes = number * (1_u64 << shift) as f64;
    // 2^63 bytes are more than can be said.
    if bytes < i64::MAX as f64 { Ok(bytes as i64) } else { Err(invalid()) }
}

fn shift_of(suffix: &str) -> Option<u32> {
    let mut letters = suffix.chars();
    let shift = match letters.next() {
        None => return Some(0),
        Some('b') => return letters.as_str().is_empty().then_some(0),
        Some('k') => 10,
        Some('m') => 20,
        Some('g') => 30,
        Some('t') => 40,
        Some('p') => 50,
        Some(_) => return None,
    };
    matches!(letters.as_str(), "" | "b" | "ib").then_some(shift)
}

/// A duration as Go's time.ParseDuration reads it: `5s`, `1m30s`, `1.5h`, `100ms`. Negative ones are `None`, too.
pub fn duration(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        total += number * seconds_of(&rest[..end])?;
        rest = &rest[end..];
    }
    (!text.is_empty()).then(|| Duration::try_from_secs_f64(total).ok()).flatten()
}

fn seconds_of(unit: &str) -> Option<f64> {
    Some(match unit {
        "ns" => 1e-9,
        "us" | "µs" | "μs" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, want) in [("32", 32), ("32b", 32), ("10M", 10 << 20), ("1.5 GiB", 3 << 29), ("2kb", 2048)]
        {
            assert_eq!(ram_in_bytes(text), Ok(want), "{text}");
        }
        assert_eq!(ram_in_bytes("lots").unwrap_err(), "invalid size: 'lots'");
        assert_eq!(ram_in_bytes("5x").unwrap_err(), "invalid suffix: '5x'".replace('5', ""));
        assert_eq!(ram_in_bytes("-5").unwrap_err(), "invalid size: '-5'");
        assert_eq!(ram_in_bytes("").unwrap_err(), "invalid size: ''");
        assert_eq!(ram_in_bytes("8191p"), Ok(8191 << 50));
        assert_eq!(ram_in_bytes("8192p").unwrap_err(), "invalid size: '8192p'");
    }

    #[test]
    fn durations() {
        for (text, millis) in [("5s", 5000), ("1m30s", 90_000), ("1.5s", 1500), ("100ms", 100), ("0", 0)] {
            assert_eq!(duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "5", "s", "-5s", "5x", "1.2.3s", "99999999999999999999999h"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panic(text in ".{0,20}") {
            let _ = ram_in_bytes(&text);
            let _ = duration(&text);
        }
    }
}
