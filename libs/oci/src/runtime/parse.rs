//! Reading and writing config.json.

use serde_json::Value;

use super::{LinuxResources, Spec, blame, words, zeros};
use crate::{Error, capability};

/// More than any real config.json.
pub const MAX_SIZE: usize = 16 << 20;

/// A config.json, and what was passed over in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed {
    /// What it says.
    pub spec: Spec,
    /// What it says that means nothing here; runc logs and ignores the same.
    pub warnings: Vec<String>,
}

/// Reads a config.json. Unknown fields and unknown capabilities are passed over.
///
/// # Errors
/// Longer than [`MAX_SIZE`], nested deeper than 128 levels, not JSON, or a field that is not of its type: the error
/// names the field.
pub fn parse(text: &[u8]) -> Result<Spec, Error> {
    parse_with_warnings(text).map(|parsed| parsed.spec)
}

/// Like [`parse`], and says what was passed over.
pub fn parse_with_warnings(text: &[u8]) -> Result<Parsed, Error> {
    if text.len() > MAX_SIZE {
        return Err(Error::new("", format!("{} bytes are more than the {MAX_SIZE} allowed", text.len())));
    }
    let mut value = first_value(text)?;
    match &value {
        Value::Object(_) => {}
        Value::Null => return Err(Error::new("", "config cannot be null")),
        _ => return Err(Error::new("", "not a JSON object")),
    }
    drop_nulls(&mut value);
    blame::check_objects(&value)?;
    zeros::add(&mut value);
    let warnings = drop_unknown_capabilities(&mut value);
    let spec = match serde_json::from_value(value.clone()) {
        Ok(spec) => spec,
        Err(_) => filled(value)?,
    };
    Ok(Parsed { spec, warnings })
}

/// The first value of a text. What follows it is not looked at, since Go's decoder does not either.
///
/// # Errors
/// There is none, or it is not JSON.
pub fn first_value(text: &[u8]) -> Result<Value, Error> {
    match serde_json::Deserializer::from_slice(text).into_iter().next() {
        Some(value) => value.map_err(|e| Error::new("", e.to_string())),
        None => Err(Error::new("", "EOF")),
    }
}

/// A document that does not fit the types as it stands: with zero values where nothing is, or with the error that it has even then.
fn filled(mut value: Value) -> Result<Spec, Error> {
    zeros::fill(&mut value);
    if let Some(error) = words::find(&value) {
        return Err(error);
    }
    serde_json::from_value(value.clone()).map_err(|e| blame::find(&value, &e))
}

/// Reads what stands alone and has the form of `linux.resources`: what limits of a running container are changed to.
///
/// # Errors
/// Those of [`parse`].
pub fn parse_resources(resources: Value) -> Result<LinuxResources, Error> {
    let document = serde_json::json!({"linux": {"resources": resources}});
    let spec = parse(document.to_string().as_bytes())?;
    Ok(spec.linux().as_ref().and_then(|linux| linux.resources().clone()).unwrap_or_default())
}

/// Writes a spec so that the same spec gives the same bytes: the sets of capabilities are sorted.
pub fn to_json(spec: &Spec) -> Result<Vec<u8>, Error> {
    let mut value = serde_json::to_value(spec).map_err(|e| Error::new("", e.to_string()))?;
    for set in capability_sets(&mut value) {
        set.1.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
    }
    serde_json::to_vec(&value).map_err(|e| Error::new("", e.to_string()))
}

/// To Go's decoder, and so to every config.json in the wild, null is the same as nothing.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

fn drop_unknown_capabilities(value: &mut Value) -> Vec<String> {
    let mut unknown = std::collections::BTreeSet::new();
    for (_, set) in capability_sets(value) {
        set.retain(|name| match name.as_str() {
            Some(name) if !capability::is_known(name) => {
                unknown.insert(name.to_owned());
                false
            }
            _ => true,
        });
    }
    if unknown.is_empty() {
        return Vec::new();
    }
    let names: Vec<_> = unknown.into_iter().collect();
    vec![format!("ignoring unknown or unavailable capabilities: [{}]", names.join(" "))]
}

/// The arrays of `process.capabilities`.
fn capability_sets(value: &mut Value) -> impl Iterator<Item = (&String, &mut Vec<Value>)> {
    value
        .pointer_mut("/process/capabilities")
        .and_then(Value::as_object_mut)
        .into_iter()
        .flatten()
        .filter_map(|(name, set)| Some((name, set.as_array_mut()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_go_accepts_is_accepted() {
        let text = br#"{"ociVersion":"1.0.2","process":{"args":["sh"],"cwd":"/","env":null},"hooks":null,
            "root":{"path":"rootfs"},"mounts":[{"destination":"/proc","options":null}],"unknown":{"a":1},
            "linux":{"resources":{"devices":[{"allow":false,"access":"rwm"}],"pids":{}}}}"#;
        let spec = parse(text).unwrap();
        assert_eq!(spec.process().as_ref().unwrap().user().uid(), 0);
        assert_eq!(spec.mounts().as_ref().unwrap()[0].options(), &None);
    }

    #[test]
    fn unknown_capabilities_are_told_and_dropped() {
        let text = br#"{"ociVersion":"1.0.2","process":{"cwd":"/","capabilities":
            {"bounding":["CAP_KILL","CAP_NOPE"],"effective":["net_raw","CAP_NOPE"]}}}"#;
        let parsed = parse_with_warnings(text).unwrap();
        assert_eq!(parsed.warnings, ["ignoring unknown or unavailable capabilities: [CAP_NOPE net_raw]"]);
        let caps = parsed.spec.process().as_ref().unwrap().capabilities().as_ref().unwrap().clone();
        assert_eq!(caps.bounding().as_ref().unwrap().len(), 1);
        assert!(caps.effective().as_ref().unwrap().is_empty());
    }

    #[test]
    fn nonsense_is_refused() {
        for (text, want) in [
            (&b"null"[..], "config cannot be null"),
            (b"[]", "not a JSON object"),
            (b"{", "EOF"),
            (b"", "EOF"),
        ] {
            let got = parse(text).unwrap_err().to_string();
            assert!(got.contains(want), "{got}");
        }
        assert_eq!(parse(br#"{"hostname":"a"} and more"#).unwrap().hostname().as_deref(), Some("a"));
        let deep = format!("{}{}", "{\"a\":".repeat(200), "}".repeat(200));
        assert!(parse(deep.as_bytes()).unwrap_err().to_string().contains("recursion limit"));
        assert!(parse(&vec![b' '; MAX_SIZE + 1]).unwrap_err().to_string().contains("more than"));
    }

    #[test]
    fn the_same_spec_gives_the_same_bytes() {
        let spec = super::super::default_spec();
        let bytes = to_json(&spec).unwrap();
        let again = parse(&bytes).unwrap();
        assert_eq!(spec, again);
        assert_eq!(bytes, to_json(&again).unwrap());
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = parse(&text);
        }
    }
}
