//! containerd's nouns with the verbs, flags and columns of `ctr`: what stands below containers and images.
//!
//! Where docker and `ctr` use the same word, the singular is docker's (`rctl container ls` is `rctl ps`) and the plural is `ctr`'s
//! (`rctl containers ls` lists containerd's records).

pub mod containers;
pub mod content;
pub mod leases;
mod metrics;
mod metrics_json;
pub mod namespaces;
pub mod plugins;
pub mod snapshots;
mod streams;
mod task_runs;
pub mod tasks;

use std::collections::BTreeMap;

use prost_types::{FieldMask, Timestamp};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::failure::{Failure, Result};
use crate::output::format::harmless;
use crate::output::time::system_time;

/// Labels as `ctr` shows them: `key=value,...`, or `-`.
fn labels(labels: &BTreeMap<String, String>) -> String {
    let pairs: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    if pairs.is_empty() { "-".to_owned() } else { pairs.join(",") }
}

/// `key=value` arguments; a key alone has an empty value, which takes the label away where a label is set.
fn pairs(arguments: &[String]) -> Result<BTreeMap<String, String>> {
    let mut pairs = BTreeMap::new();
    for argument in arguments {
        let (key, value) = argument.split_once('=').unwrap_or((argument, ""));
        if key.is_empty() {
            return Err(Failure::Usage(format!("invalid label {argument:?}: KEY=VALUE is expected")));
        }
        pairs.insert(key.to_owned(), value.to_owned());
    }
    Ok(pairs)
}

/// Only these labels are written; the others stay as they are.
fn label_mask(labels: &BTreeMap<String, String>) -> Option<FieldMask> {
    Some(FieldMask { paths: labels.keys().map(|key| format!("labels.{key}")).collect() })
}

/// A time as RFC 3339, in seconds; `-` for none.
fn rfc3339(at: Option<Timestamp>) -> String {
    let time = at.map(|at| Timestamp { nanos: 0, ..at }).and_then(system_time).map(OffsetDateTime::from);
    time.and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_else(|| "-".to_owned())
}

/// JSON as `ctr` indents it.
fn pretty(value: &serde_json::Value) -> Result<String> {
    let mut text = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut writer = serde_json::Serializer::with_formatter(&mut text, formatter);
    serde::Serialize::serialize(value, &mut writer).map_err(|error| Failure::local("write JSON", error))?;
    let text = String::from_utf8(text).map(|text| harmless(&text));
    text.map_err(|error| Failure::local("write JSON", error))
}

/// What there must be in an answer.
fn present<T>(part: Option<T>, what: &str) -> Result<T> {
    part.ok_or_else(|| Failure::Local(format!("the daemon's answer holds no {what}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_written_and_read_as_ctr_does() {
        let parsed = pairs(&["a=b=c".to_owned(), "alone".to_owned()]).unwrap();
        assert_eq!(labels(&parsed), "a=b=c,alone=");
        assert_eq!(labels(&BTreeMap::new()), "-");
        assert_eq!(label_mask(&parsed).unwrap().paths, ["labels.a", "labels.alone"]);
        assert!(pairs(&["=x".to_owned()]).is_err());
    }
}
