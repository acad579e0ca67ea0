//! Extended attributes as libarchive writes them: `LIBARCHIVE.xattr.NAME`, the name percent-encoded, the value in base64.

/// Undoes `%XX`, with which libarchive writes an attribute's name.
pub(crate) fn percent_decoded(text: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, tail)) = rest.split_first() {
        let code = tail.get(..2).and_then(|code| std::str::from_utf8(code).ok());
        match (first, code.and_then(|code| u8::from_str_radix(code, 16).ok())) {
            (b'%', Some(byte)) => {
                decoded.push(byte);
                rest = &tail[2..];
            }
            _ => {
                decoded.push(*first);
                rest = tail;
            }
        }
    }
    decoded
}

/// Undoes base64 (RFC 4648), with or without padding; `None` for what is none.
pub(crate) fn base64_decoded(text: &[u8]) -> Option<Vec<u8>> {
    let text: Vec<u8> = text.iter().copied().filter(|byte| *byte != b'=').collect();
    let mut decoded = Vec::with_capacity(text.len() * 3 / 4);
    for group in text.chunks(4) {
        let mut bits = 0u32;
        for byte in group {
            let six = match byte {
                b'A'..=b'Z' => byte - b'A',
                b'a'..=b'z' => byte - b'a' + 26,
                b'0'..=b'9' => byte - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            bits = bits << 6 | u32::from(six);
        }
        bits <<= 6 * (4 - group.len());
        let bytes = bits.to_be_bytes();
        decoded.extend_from_slice(bytes.get(1..group.len())?);
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_libarchives_attributes() {
        assert_eq!(percent_decoded(b"user.a%3Db%"), b"user.a=b%");
        assert_eq!(base64_decoded(b"aGVsbG8=").unwrap(), b"hello");
        assert_eq!(base64_decoded(b"aGVsbG8").unwrap(), b"hello");
        assert_eq!(base64_decoded(b"AQ==").unwrap(), [1]);
        assert_eq!(base64_decoded(b"").unwrap(), b"");
        assert_eq!(base64_decoded(b"a!"), None);
    }
}
