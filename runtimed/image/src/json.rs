//! JSON as Go's `encoding/json` reads it, as far as documents in use need it: their writers are mostly Go programs, and so
//! are the readers that took them so far. `null` is a field's zero value, and what is no text in a string is U+FFFD.
//!
//! Stricter than there: names are compared in full, a name of a struct's field comes once, and nesting has serde_json's limit.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

/// Reads a document whose digest, if it has one, has been checked: what is repaired for reading is never stored.
pub(crate) fn read<T: DeserializeOwned>(bytes: &[u8]) -> serde_json::Result<T> {
    let read = serde_json::from_slice(bytes);
    match read.is_err().then(|| repaired(bytes)).flatten() {
        Some(text) => serde_json::from_slice(&text),
        None => read,
    }
}

/// The document in a form that a strict parser reads, if any can.
pub(crate) fn readable(bytes: Bytes) -> Bytes {
    repaired(&bytes).map_or(bytes, Bytes::from)
}

/// For a field that may be `null`, or, with `default`, absent.
pub(crate) fn null_is_default<'a, D: Deserializer<'a>, T: Deserialize<'a> + Default>(
    field: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(field)?.unwrap_or_default())
}

/// For a map that may be `null`, as may be its values.
pub(crate) fn texts<'a, D: Deserializer<'a>>(field: D) -> Result<BTreeMap<String, String>, D::Error> {
    let map: BTreeMap<String, Option<String>> = null_is_default(field)?;
    Ok(map.into_iter().map(|(key, value)| (key, value.unwrap_or_default())).collect())
}

/// The document with U+FFFD for each byte that is not UTF-8 and for each half of a surrogate pair that stands alone; `None`
/// when there are none.
fn repaired(bytes: &[u8]) -> Option<Vec<u8>> {
    let may_have_surrogates = bytes.windows(3).any(|window| matches!(window, br"\ud" | br"\uD"));
    if !may_have_surrogates && std::str::from_utf8(bytes).is_ok() {
        return None;
    }
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    let mut text = text.into_bytes();
    replace_lone_surrogates(&mut text);
    (text != bytes).then_some(text)
}

fn replace_lone_surrogates(text: &mut [u8]) {
    let mut at = 0;
    while at < text.len() {
        at += match (escaped_unit(text, at), escaped_unit(text, at + 6)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
            (Some(0xd800..=0xdfff), _) => {
                text[at + 2..at + 6].copy_from_slice(b"fffd");
                6
            }
            // A backslash may be followed by another one, which begins nothing.
            _ if text[at] == b'\\' => 2,
            _ => 1,
        };
    }
}

/// The UTF-16 unit that is written as `\uXXXX` here.
fn escaped_unit(text: &[u8], at: usize) -> Option<u16> {
    let digits = text.get(at..at + 6)?.strip_prefix(br"\u")?;
    let digits =
        std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit()))?;
    u16::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Deserialize, Debug, PartialEq, Default)]
    struct Fields {
        #[serde(default, deserialize_with = "null_is_default")]
        text: String,
        #[serde(default, deserialize_with = "null_is_default")]
        list: Vec<u8>,
        #[serde(default, deserialize_with = "texts")]
        map: BTreeMap<String, String>,
    }

    #[test]
    fn null_is_nothing() {
        let nothing = Fields::default();
        assert_eq!(read::<Fields>(br#"{"text":null,"list":null,"map":null}"#).unwrap(), nothing);
        assert_eq!(read::<Fields>(b"{}").unwrap(), nothing);
        let some = read::<Fields>(br#"{"text":"a","list":[1],"map":{"k":"v","n":null}}"#).unwrap();
        let map = [("k", "v"), ("n", "")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(some, Fields { text: "a".to_owned(), list: vec![1], map: map.into() });
        for other in [r#"{"text":1}"#, r#"{"list":{}}"#, r#"{"map":[]}"#, r#"{"map":{"a":1}}"#] {
            read::<Fields>(other.as_bytes()).unwrap_err();
        }
    }

    /// The right column is what Go 1.26 makes of the left.
    #[test]
    fn what_is_no_text_is_replaced() {
        for (written, read_as) in [
            (&br"x\ud83dy"[..], "x\u{fffd}y"),
            (br"\ud83d\u0041", "\u{fffd}A"),
            (br"\udc00\ud83d\ude00", "\u{fffd}\u{1f600}"),
            (br"\uD83D\uD83D\uDE00", "\u{fffd}\u{1f600}"),
            (br"\ud83d", "\u{fffd}"),
            (br"\\ud83d\ud83d\n", "\\ud83d\u{fffd}\n"),
            (b"\xe2\x82 \xed\xa0\x80 \xff", "\u{fffd}\u{fffd} \u{fffd}\u{fffd}\u{fffd} \u{fffd}"),
            (b"\xff\\ud83d\xc3\xa4", "\u{fffd}\u{fffd}\u{e4}"),
        ] {
            let document = [b"\"", written, b"\""].concat();
            serde_json::from_slice::<String>(&document).unwrap_err();
            assert_eq!(read::<String>(&document).unwrap(), read_as);
            let readable = readable(Bytes::from(document));
            assert_eq!(serde_json::from_slice::<String>(&readable).unwrap(), read_as);
        }
    }

    #[test]
    fn what_is_wrong_otherwise_stays_wrong() {
        for document in
            [&b"\xff"[..], b"{\"a\":\xff}", br#""\ud83""#, br#""\u""#, br#""\ud83d"#, b"\"\xff\\", br"\ud83d"]
        {
            read::<serde_json::Value>(document).unwrap_err();
        }
    }

    proptest! {
        #[test]
        fn what_is_sound_is_left_alone(text: String) {
            let document = Bytes::from(serde_json::to_vec(&text).unwrap());
            prop_assert_eq!(repaired(&document), None);
            let escaped: String = text.encode_utf16().map(|unit| format!("\\u{unit:04X}")).collect();
            let document = format!("\"{escaped}\"");
            prop_assert_eq!(repaired(document.as_bytes()), None);
            prop_assert_eq!(read::<String>(document.as_bytes()).unwrap(), text);
        }

        #[test]
        fn any_bytes_in_quotes_come_back_repaired_once(bytes: Vec<u8>, units: Vec<u16>) {
            let mut document = bytes;
            document.extend(units.iter().flat_map(|unit| format!("\\u{unit:04x}").into_bytes()));
            if let Some(text) = repaired(&document) {
                prop_assert!(std::str::from_utf8(&text).is_ok());
                prop_assert_eq!(repaired(&text), None);
            }
        }
    }
}
