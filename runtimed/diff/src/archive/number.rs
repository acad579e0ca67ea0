//! Numbers in headers: octal text, GNU's base 256, pax's decimals.

use errors::{Error, Result};

use super::Time;

/// A header's numeric field. An empty one is 0, as some writers leave what they do not need.
pub(crate) fn field(bytes: &[u8], what: &str) -> Result<i64> {
    match bytes.first() {
        Some(first) if first & 0x80 != 0 => base_256(bytes),
        _ => octal(bytes),
    }
    .ok_or_else(|| {
        Error::invalid(format!("invalid tar header: {what} is {:?}", bytes.escape_ascii().to_string()))
    })
}

/// A field that cannot be negative.
pub(crate) fn unsigned(bytes: &[u8], what: &str) -> Result<u64> {
    u64::try_from(field(bytes, what)?)
        .map_err(|_| Error::invalid(format!("invalid tar header: {what} is negative")))
}

fn octal(bytes: &[u8]) -> Option<i64> {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let text = bytes[..end].trim_ascii();
    if text.is_empty() {
        return Some(0);
    }
    i64::from_str_radix(std::str::from_utf8(text).ok()?, 8).ok().filter(|_| text[0] != b'+')
}

/// Two's complement, big end first; the top bit only says that it is this form.
fn base_256(bytes: &[u8]) -> Option<i64> {
    let (first, rest) = bytes.split_first()?;
    // The sign is the bit below the mark.
    let mut value = i128::from(first & 0x3f) - if first & 0x40 != 0 { 0x40 } else { 0 };
    for byte in rest {
        value = value.checked_mul(256)?.checked_add(i128::from(*byte))?;
    }
    i64::try_from(value).ok()
}

/// A pax decimal number.
pub(crate) fn decimal(text: &[u8], key: &str) -> Result<u64> {
    std::str::from_utf8(text)
        .ok()
        .filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| {
            Error::invalid(format!("invalid pax record {key}={:?}", text.escape_ascii().to_string()))
        })
}

/// A pax time: decimal seconds, with a fraction perhaps; digits beyond nanoseconds are cut off.
pub(crate) fn time(text: &[u8], key: &str) -> Result<Time> {
    parse_time(text).ok_or_else(|| {
        Error::invalid(format!("invalid pax record {key}={:?}", text.escape_ascii().to_string()))
    })
}

fn parse_time(text: &[u8]) -> Option<Time> {
    let text = std::str::from_utf8(text).ok()?;
    let (negative, text) = match text.strip_prefix('-') {
        Some(text) => (true, text),
        None => (false, text),
    };
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) {
        return None;
    }
    let seconds: i64 = whole.parse().ok()?;
    let nanoseconds: u32 = format!("{:0<9.9}", fraction).parse().ok()?;
    match (negative, nanoseconds) {
        (false, _) => Some(Time { seconds, nanoseconds }),
        (true, 0) => Some(Time { seconds: -seconds, nanoseconds }),
        (true, _) => Some(Time { seconds: -seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_fields_as_the_tools_write_them() {
        for (bytes, value) in [
            (&b"0000644\0"[..], 0o644),
            (b"   644 \0", 0o644),
            (b"644\0junk", 0o644),
            (b"\0\0\0\0\0\0\0\0", 0),
            (b"\x80\0\0\0\0\0\x01\0", 256),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff", -1),
        ] {
            assert_eq!(field(bytes, "x").unwrap(), value, "{bytes:?}");
        }
        for bad in
            [&b"9999999\0"[..], b"abc", b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", b"+7", b"-7"]
        {
            assert!(unsigned(bad, "x").is_err(), "{bad:?}");
        }
    }

    #[test]
    fn reads_pax_times() {
        let time =
            |text: &str| super::time(text.as_bytes(), "mtime").ok().map(|t| (t.seconds, t.nanoseconds));
        assert_eq!(time("1350244992.023960108"), Some((1_350_244_992, 23_960_108)));
        assert_eq!(time("5"), Some((5, 0)));
        assert_eq!(time("5.5"), Some((5, 500_000_000)));
        assert_eq!(time("5.1234567899"), Some((5, 123_456_789)));
        assert_eq!(time("-1.5"), Some((-2, 500_000_000)));
        assert_eq!(time("-1"), Some((-1, 0)));
        for bad in ["", ".", "-", "1.x", "1e5", "99999999999999999999"] {
            assert_eq!(time(bad), None, "{bad}");
        }
    }
}
