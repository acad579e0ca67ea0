//! Labels: small texts on records, with containerd's limit on their size.

use std::collections::BTreeMap;

use errors::{Error, Result};

/// Labels of a record, in key order.
pub type Labels = BTreeMap<String, String>;

/// Key and value together, in bytes (containerd `pkg/labels`).
const MAX: usize = 4096;

/// Checks one label; an error of kind `InvalidArgument` names the key.
pub fn validate_label(key: &str, value: &str) -> Result<()> {
    let size = key.len() + value.len();
    if size <= MAX {
        return Ok(());
    }
    let shown: String = key.chars().take(64).collect();
    Err(Error::invalid(format!(
        "label key and value length ({size} bytes) greater than maximum size ({MAX} bytes), key: {shown}"
    )))
}

/// Checks all labels of a record.
pub fn validate_labels(labels: &Labels) -> Result<()> {
    labels.iter().try_for_each(|(key, value)| validate_label(key, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limit_counts_key_and_value() {
        assert!(validate_label("k", &"v".repeat(MAX - 1)).is_ok());
        assert!(validate_label("k", &"v".repeat(MAX)).is_err());
    }
}
