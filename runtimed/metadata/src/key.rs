//! Keys on disk: texts composed so that the order of the bytes is the order of the parts.
//!
//! A key is one byte for its sort, then each part followed by a terminator. The terminator is `00 01`; a NUL inside
//! a part is written `00 ff`. So a part sorts before every longer part that begins with it, no part can be mistaken
//! for another whatever it holds, and all keys that begin with the same parts stand together.

use errors::{Error, Result};

/// The longest key on disk, in bytes: names come from clients, and every key is in memory.
pub(crate) const MAX: usize = 4608;

const ESCAPE: u8 = 0x00;
const END: u8 = 0x01;
const NUL: u8 = 0xff;

/// What a key leads to; the first byte on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sort {
    /// A record of a table without namespaces.
    Global,
    /// A record that belongs to a namespace.
    Namespaced,
}

impl Sort {
    pub(crate) const fn byte(self) -> u8 {
        match self {
            Sort::Global => b'g',
            Sort::Namespaced => b'n',
        }
    }
}

/// The key of a record, and equally the prefix of all records whose keys begin with `parts`.
pub(crate) fn compose(sort: Sort, table: &str, parts: &[&str]) -> Result<Vec<u8>> {
    let length: usize = parts.iter().map(|part| part.len() + 2).sum::<usize>() + table.len() + 3;
    let mut key = Vec::with_capacity(length.min(MAX) + 8);
    key.push(sort.byte());
    push(&mut key, table);
    for part in parts {
        if key.len() + part.len() > MAX {
            return Err(too_long(table, parts));
        }
        push(&mut key, part);
    }
    if key.len() > MAX {
        return Err(too_long(table, parts));
    }
    Ok(key)
}

/// The table and the parts of a record's key; `None` when the bytes are no such key.
pub(crate) fn decompose(key: &[u8]) -> Option<(String, Vec<String>)> {
    let mut rest = key.get(1..)?;
    let mut parts = Vec::new();
    while !rest.is_empty() {
        let (part, after) = pull(rest)?;
        parts.push(part);
        rest = after;
    }
    if parts.is_empty() {
        return None;
    }
    let table = parts.remove(0);
    Some((table, parts))
}

/// The first key after all those that begin with `prefix`, which ends in a terminator.
pub(crate) fn after(prefix: &[u8]) -> Vec<u8> {
    let mut next = prefix.to_vec();
    while let Some(last) = next.pop() {
        if last < 0xff {
            next.push(last + 1);
            break;
        }
    }
    next
}

fn push(key: &mut Vec<u8>, part: &str) {
    for &byte in part.as_bytes() {
        key.push(byte);
        if byte == ESCAPE {
            key.push(NUL);
        }
    }
    key.extend([ESCAPE, END]);
}

fn pull(bytes: &[u8]) -> Option<(String, &[u8])> {
    let mut part = Vec::new();
    let mut at = 0;
    loop {
        match (*bytes.get(at)?, bytes.get(at + 1)) {
            (ESCAPE, Some(&END)) => break,
            (ESCAPE, Some(&NUL)) => {
                part.push(ESCAPE);
                at += 2;
            }
            (ESCAPE, _) => return None,
            (byte, _) => {
                part.push(byte);
                at += 1;
            }
        }
    }
    Some((String::from_utf8(part).ok()?, &bytes[at + 2..]))
}

fn too_long(table: &str, parts: &[&str]) -> Error {
    let shown: String = parts.join("/").chars().take(128).collect();
    Error::invalid(format!("key {shown:?}... of table {table} is longer than {MAX} bytes"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parts() -> impl Strategy<Value = Vec<String>> {
        let part = prop_oneof![any::<String>(), "[\u{0}\u{1}\u{2}a\u{7f}ÿ]{0,4}",];
        proptest::collection::vec(part, 0..4)
    }

    fn key(parts: &[String]) -> Vec<u8> {
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        compose(Sort::Global, "t", &parts).unwrap()
    }

    proptest! {
        #[test]
        fn order_is_that_of_the_parts(a in parts(), b in parts()) {
            prop_assert_eq!(key(&a).cmp(&key(&b)), a.cmp(&b));
        }

        #[test]
        fn decompose_undoes_compose(a in parts()) {
            prop_assert_eq!(decompose(&key(&a)), Some(("t".to_owned(), a)));
        }

        #[test]
        fn prefixes_are_whole_parts(a in parts(), b in parts()) {
            prop_assert_eq!(key(&a).starts_with(&key(&b)), a.starts_with(&b));
            prop_assert!(!key(&a).starts_with(&key(&b)) || key(&a) < after(&key(&b)));
        }
    }

    #[test]
    fn long_keys_are_refused() {
        let error = compose(Sort::Global, "t", &[&"k".repeat(MAX)]).unwrap_err();
        assert_eq!(error.kind(), errors::Kind::InvalidArgument);
        assert!(compose(Sort::Global, "t", &[&"\0".repeat(MAX / 2)]).is_err());
        assert!(compose(Sort::Global, "t", &[&"k".repeat(MAX - 16)]).is_ok());
    }
}
