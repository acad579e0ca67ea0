//! Annotations `org.systemd.property.*`: properties of the unit that config.json has no field for.

use std::collections::HashMap;

use super::dbus::Value;
use super::gvariant;
use super::manager::Property;
use crate::cgroup::{Error, Result};

const PREFIX: &str = "org.systemd.property.";

/// The properties, in order of their names.
pub fn properties(annotations: &HashMap<String, String>) -> Result<Vec<Property>> {
    let mut found = Vec::new();
    for (key, text) in annotations {
        let Some(name) = key.strip_prefix(PREFIX) else { continue };
        let invalid = |reason: String| Err(Error::Systemd(format!("annotation {key}={text} {reason}")));
        if name.len() < 3 || !name.bytes().all(|c| c.is_ascii_alphabetic()) {
            return Err(Error::Systemd(format!(
                "annotation {key} name incorrect: only letters, and at least three"
            )));
        }
        let value = match gvariant::parse(text) {
            Ok(value) => value,
            Err(reason) => return invalid(format!("value parse error: {reason}")),
        };
        // Units' files give seconds, the bus microseconds: TimeoutStopSec is TimeoutStopUSec there.
        let stem = name.strip_suffix("Sec").filter(|stem| stem.ends_with(|c: char| c.is_ascii_lowercase()));
        match stem {
            None => found.push((name.to_owned(), value)),
            Some(stem) => match microseconds(&value) {
                Some(value) => found.push((format!("{stem}USec"), value)),
                None => return invalid("value parse error: not a number of seconds".into()),
            },
        }
    }
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(found)
}

fn microseconds(seconds: &Value) -> Option<Value> {
    const MICRO: u64 = 1_000_000;
    let whole = match *seconds {
        Value::Double(n) if n >= 0.0 && n < (u64::MAX / MICRO) as f64 => {
            return Some(Value::U64((n * MICRO as f64) as u64));
        }
        Value::Byte(n) => u64::from(n),
        Value::I16(n) => u64::try_from(n).ok()?,
        Value::U16(n) => u64::from(n),
        Value::I32(n) => u64::try_from(n).ok()?,
        Value::U32(n) => u64::from(n),
        Value::I64(n) => u64::try_from(n).ok()?,
        Value::U64(n) => n,
        _ => return None,
    };
    whole.checked_mul(MICRO).map(Value::U64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(key: &str, value: &str) -> Result<Vec<Property>> {
        properties(&HashMap::from([(key.to_owned(), value.to_owned()), ("other".into(), "x".into())]))
    }

    #[test]
    fn seconds_become_microseconds() {
        let usec = |n| vec![("TimeoutStopUSec".to_owned(), Value::U64(n))];
        assert_eq!(of("org.systemd.property.TimeoutStopSec", "5").unwrap(), usec(5_000_000));
        assert_eq!(of("org.systemd.property.TimeoutStopSec", "0.5").unwrap(), usec(500_000));
        assert_eq!(of("org.systemd.property.TimeoutStopUSec", "uint64 7").unwrap(), usec(7));
        assert_eq!(
            of("org.systemd.property.CollectMode", "'inactive-or-failed'").unwrap(),
            [("CollectMode".to_owned(), Value::text("inactive-or-failed"))]
        );
    }

    #[test]
    fn wrong_names_and_values_are_named() {
        for (key, value, said) in [
            ("org.systemd.property.", "1", "name incorrect"),
            ("org.systemd.property.A-b", "1", "name incorrect"),
            ("org.systemd.property.Foo", "maybe", "value parse error"),
            ("org.systemd.property.TimeoutStopSec", "'x'", "not a number"),
            ("org.systemd.property.TimeoutStopSec", "-1", "not a number"),
        ] {
            let error = of(key, value).unwrap_err().to_string();
            assert!(error.contains(said) && error.contains(key), "{error}");
        }
    }
}
