//! What rctl reads, and shows.

use rctl::doors;

use crate::input::{parts, texts};

/// A template, and a record for it.
pub fn format(bytes: &[u8]) {
    let [template, record] = parts(bytes);
    let Ok(template) = std::str::from_utf8(template) else { return };
    doors::format(template, record);
}

/// Texts of others.
pub fn shown(bytes: &[u8]) {
    let [text] = texts(bytes);
    doors::shown(&text);
}

/// Values of flags.
pub fn flags(bytes: &[u8]) {
    let [text] = texts(bytes);
    doors::flags(&text);
}
