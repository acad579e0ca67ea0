//! pax records: `LENGTH KEY=VALUE\n` (POSIX.1-2017, pax, "pax Extended Header").

use errors::{Error, Result};

/// Parts the records of an extended header.
pub(crate) fn records(mut bytes: &[u8]) -> Result<Vec<(&[u8], &[u8])>> {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let (key, value, rest) = record(bytes).ok_or_else(|| {
            let shown = &bytes[..bytes.len().min(64)];
            Error::invalid(format!("invalid pax record at {:?}", shown.escape_ascii().to_string()))
        })?;
        records.push((key, value));
        bytes = rest;
    }
    Ok(records)
}

fn record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().take(20).position(|byte| *byte == b' ')?;
    let digits = &bytes[..space];
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let length: usize = std::str::from_utf8(digits).ok()?.parse().ok()?;
    let line = bytes.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = line.iter().position(|byte| *byte == b'=')?;
    Some((&line[..equals], &line[equals + 1..], &bytes[length..]))
}

/// Appends a record.
pub(crate) fn append(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = 3 + key.len() + value.len();
    // The length counts its own digits.
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(length.to_string().as_bytes());
    records.push(b' ');
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_appended_is_read(values in proptest::collection::vec(any::<Vec<u8>>(), 0..8)) {
            let mut bytes = Vec::new();
            for value in &values {
                append(&mut bytes, b"SCHILY.xattr.user.x", value);
            }
            let read: Vec<_> = records(&bytes).unwrap().into_iter().map(|(_, value)| value.to_vec()).collect();
            prop_assert_eq!(read, values);
        }

        #[test]
        fn never_panics(bytes in any::<Vec<u8>>()) {
            let _ = records(&bytes);
        }
    }

    #[test]
    fn refuses_lying_lengths() {
        for bad in [
            "5 a=b\n",
            "7 a=b\n",
            "99999999999999999999 a=b\n",
            "a=b\n",
            " 6 a=b\n",
            "6 a=bx",
            "5 ab\n",
            "0 \n",
        ] {
            assert!(records(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert_eq!(records(b"6 a=b\n").unwrap(), [(&b"a"[..], &b"b"[..])]);
    }
}
