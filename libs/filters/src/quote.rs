//! Takes quoted texts out of their quotes: Go's string literals, with `/` and `|` as further quotes.

/// The text inside `quoted`, which the scanner found well formed; `None` when it spells no valid text all the same.
pub(crate) fn unquote(quoted: &str) -> Option<String> {
    let quote = quoted.chars().next()?;
    let mut rest = quoted.strip_prefix(quote)?.strip_suffix(quote)?;
    let mut bytes = Vec::with_capacity(rest.len());
    while let Some(next) = rest.chars().next() {
        rest = &rest[next.len_utf8()..];
        if next == '\\' {
            rest = escape(rest, quote, &mut bytes)?;
        } else if next == quote {
            return None;
        } else {
            push(&mut bytes, next);
        }
    }
    String::from_utf8(bytes).ok()
}

/// Decodes what follows a backslash; returns what follows that.
fn escape<'a>(rest: &'a str, quote: char, bytes: &mut Vec<u8>) -> Option<&'a str> {
    let kind = rest.chars().next()?;
    let after = &rest[kind.len_utf8()..];
    let byte = match kind {
        'a' => 0x07,
        'b' => 0x08,
        'f' => 0x0c,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 0x0b,
        '\\' => b'\\',
        '0'..='7' => {
            let (value, after) = number(rest, 8, 3)?;
            bytes.push(u8::try_from(value).ok()?);
            return Some(after);
        }
        'x' => {
            let (value, after) = number(after, 16, 2)?;
            bytes.push(u8::try_from(value).ok()?);
            return Some(after);
        }
        'u' => return code_point(after, 4, bytes),
        'U' => return code_point(after, 8, bytes),
        _ if kind == quote => {
            push(bytes, quote);
            return Some(after);
        }
        _ => return None,
    };
    bytes.push(byte);
    Some(after)
}

fn code_point<'a>(rest: &'a str, digits: usize, bytes: &mut Vec<u8>) -> Option<&'a str> {
    let (value, after) = number(rest, 16, digits)?;
    if value > u32::from(char::MAX) {
        return None;
    }
    // Go encodes a lone surrogate so.
    push(bytes, char::from_u32(value).unwrap_or(char::REPLACEMENT_CHARACTER));
    Some(after)
}

fn number(rest: &str, base: u32, digits: usize) -> Option<(u32, &str)> {
    let text = rest.get(..digits).filter(|text| text.chars().all(|digit| digit.is_digit(base)))?;
    Some((u32::from_str_radix(text, base).ok()?, &rest[digits..]))
}

fn push(bytes: &mut Vec<u8>, character: char) {
    bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
}
