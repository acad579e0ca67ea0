//! What can be filtered.

use std::collections::BTreeMap;

/// What a filter asks of a record: the text at a field path, or nothing when it is absent.
/// `labels."a.b"` comes as `["labels", "a.b"]`.
pub trait Fields {
    /// The value at `path` and that it is present.
    fn field(&self, path: &[&str]) -> Option<String>;
}

/// The value of a map such as the labels, under the rest of a path: `labels.a.b` and `labels."a.b"` are one.
pub fn map_field(map: &BTreeMap<String, String>, path: &[&str]) -> Option<String> {
    map.get(&path.join(".")).cloned()
}
