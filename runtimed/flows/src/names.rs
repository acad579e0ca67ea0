//! Ids and names that are made up.

use errors::{Error, Result};
use ids::ContainerId;

const ADJECTIVES: &[&str] = &[
    "amber", "brave", "brisk", "calm", "clever", "cosy", "crisp", "eager", "early", "fair", "fleet", "fond",
    "gentle", "glad", "golden", "happy", "hardy", "honest", "humble", "jolly", "keen", "kind", "lively",
    "lucid", "mellow", "merry", "mild", "neat", "nimble", "noble", "patient", "plain", "polite", "proud",
    "quick", "quiet", "ready", "rosy", "sharp", "silent", "sleek", "smart", "snug", "solid", "spry",
    "steady", "still", "sunny", "swift", "tidy", "true", "vivid", "warm", "wise", "witty", "zesty",
];

const NOUNS: &[&str] = &[
    "anchor", "badger", "barge", "beacon", "birch", "brook", "canyon", "cedar", "clover", "comet", "coral",
    "crane", "delta", "dune", "falcon", "fern", "fjord", "glacier", "grove", "harbor", "heron", "island",
    "juniper", "kettle", "lagoon", "lantern", "lark", "maple", "marlin", "meadow", "meteor", "mill",
    "orchard", "otter", "pebble", "pier", "plover", "prairie", "quarry", "raven", "reef", "ridge", "river",
    "sparrow", "spruce", "summit", "thicket", "tide", "tundra", "valley", "willow", "wren",
];

/// A fresh container or exec id: 64 hexadecimal digits, as docker's.
pub fn new_id() -> Result<ContainerId> {
    let bytes: [[u8; 16]; 2] = [uuid::Uuid::new_v4().into_bytes(), uuid::Uuid::new_v4().into_bytes()];
    ContainerId::parse(&hex::encode(bytes.as_flattened()))
}

/// A name in the manner of docker's: two words and an underscore. `attempt` above zero adds digits, so that a taken name is not met again.
pub fn new_name(attempt: u32) -> String {
    let bytes = uuid::Uuid::new_v4().into_bytes();
    let pick = |words: &[&'static str], byte: usize| {
        words[usize::from(u16::from_le_bytes([bytes[byte], bytes[byte + 1]])) % words.len()]
    };
    let name = format!("{}_{}", pick(ADJECTIVES, 0), pick(NOUNS, 2));
    match attempt {
        0 => name,
        _ => format!("{name}{:04}", u16::from_le_bytes([bytes[4], bytes[5]]) % 10_000),
    }
}

/// Checks a name that a person chose, with docker's words.
pub fn check_name(name: &str) -> Result<()> {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let rest = bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'));
    if first && rest && name.len() > 1 && name.len() <= 255 {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "Invalid container name ({}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed",
        name.chars().take(255).collect::<String>()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_names_and_ids_are_valid_and_differ() {
        let (a, b) = (new_id().unwrap(), new_id().unwrap());
        assert_ne!(a, b);
        assert_eq!(a.as_str().len(), 64);
        for attempt in 0..3 {
            check_name(&new_name(attempt)).unwrap();
        }
    }

    #[test]
    fn names_follow_dockers_rule() {
        for good in ["web", "a1", "my_app-1.2"] {
            check_name(good).unwrap();
        }
        for bad in ["", "a", "-a", "_a", "a/b", "a b", "ä1", &"x".repeat(256)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
