//! Names, digests, filters and events.

use std::collections::BTreeMap;
use std::time::SystemTime;

use filters::{Fields, Filters};
use ids::{ContainerId, Digest, Namespace, Reference};
use prost::Message as _;

use crate::input::texts;

/// What is a reference is written as one again, and can be no path outside its place.
pub fn reference(bytes: &[u8]) {
    let [text] = texts(bytes);
    let Ok(found) = Reference::parse(&text) else { return };
    let again = Reference::parse(&found.to_string()).expect("a reference is written as one");
    assert_eq!(found.to_string(), again.to_string(), "{text:?}");
    assert!(!found.path().split('/').any(|part| part == ".." || part.is_empty()), "{text:?}");
    let _ = (found.familiar_name(), found.repository(), found.object(), found.domain().len());
}

/// What is a digest has as many hexadecimal digits as its algorithm asks for.
pub fn digest(bytes: &[u8]) {
    let [text] = texts(bytes);
    let Ok(found) = Digest::parse(&text) else { return };
    assert_eq!(found.to_string(), text);
    assert_eq!(found.hex().len(), found.algorithm().hex_len());
    assert!(found.hex().bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')), "{text:?}");
}

/// What is an id or a namespace is one folder's name, short, and without a dot in front.
pub fn identifiers(bytes: &[u8]) {
    let [text, key, value] = texts(bytes);
    let id = ContainerId::parse(&text).map(|id| id.as_str().to_owned());
    let space = Namespace::parse(&text).map(|space| space.as_str().to_owned());
    for name in [id, space].into_iter().flatten() {
        assert!(name.len() <= 76 && !name.contains(['/', '\0']) && !name.starts_with('.'), "{name:?}");
        assert!(!name.chars().any(char::is_control), "{name:?}");
    }
    let labels = BTreeMap::from([(key.into_owned(), value.into_owned())]);
    let _ = ids::validate_labels(&labels);
}

struct Record(BTreeMap<String, String>);

impl Fields for Record {
    fn field(&self, path: &[&str]) -> Option<String> {
        filters::map_field(&self.0, path)
    }
}

/// A filter, and a value to match it with.
pub fn filter(bytes: &[u8]) {
    let [one, two, value] = texts(bytes);
    if let Ok(filters) = Filters::parse(&[one, two]) {
        let keys = ["name", "labels", "id", "status"].map(str::to_owned);
        filters.matches(&Record(keys.map(|key| (key, value.clone().into_owned())).into_iter().collect()));
    }
}

/// An event that somebody forwards, and a filter that a subscriber has.
pub fn event(bytes: &[u8]) {
    let [filter, event] = crate::input::parts(bytes);
    let Ok(filter) = std::str::from_utf8(filter) else { return };
    let Ok(filters) = Filters::parse(&[filter]) else { return };
    let Ok(wire) = proto_containerd::types::Envelope::decode(event) else { return };
    let Ok(namespace) = Namespace::parse(&wire.namespace) else { return };
    let envelope = events::Envelope {
        timestamp: SystemTime::now(),
        namespace,
        topic: wire.topic,
        event: wire.event.unwrap_or_default(),
    };
    filters.matches(&envelope);
    // A topic that is none is refused.
    let _ = events::Bus::new().forward(envelope);
}
