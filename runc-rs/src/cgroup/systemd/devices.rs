//! The device rules as systemd is told them: `DevicePolicy=` and `DeviceAllow=` (systemd.resource-control(5)).
//!
//! What decides is the container's own filter, which is set afterwards. systemd's stands beside it when systemd sets up cgroups
//! anew (`systemctl daemon-reload`), so it must never deny what the container's allows.

use std::fs;

use super::dbus::Value;
use super::manager::Property;
use crate::cgroup::device_rules::{Devices, Kind, MKNOD, Policy, READ, WRITE};

/// systemd knows lists of what is allowed and nothing else: a policy that it cannot say is left to the container's own filter.
pub fn properties(policy: &Policy) -> Vec<Property> {
    let groups = fs::read_to_string("/proc/devices").unwrap_or_default();
    match list(policy, &groups) {
        Some(allowed) => vec![
            ("DevicePolicy".into(), Value::text("strict")),
            ("DeviceAllow".into(), Value::Array("(ss)".into(), allowed)),
        ],
        None => vec![
            ("DevicePolicy".into(), Value::text("auto")),
            ("DeviceAllow".into(), Value::Array("(ss)".into(), Vec::new())),
        ],
    }
}

/// What is allowed; `None` if it cannot be said in systemd's words.
fn list(policy: &Policy, groups: &str) -> Option<Vec<Value>> {
    if policy.allows_by_default() {
        return None;
    }
    let entry = |(devices, access): (&Devices, u8)| {
        let node = node(devices, groups)?;
        Some(Value::Struct(vec![Value::Text(node), Value::Text(letters(access))]))
    };
    policy.exceptions().map(entry).collect()
}

/// `/dev/char/1:3`, `char-*`, or a group of /proc/devices such as `char-pts`.
fn node(devices: &Devices, groups: &str) -> Option<String> {
    let kind = if devices.kind == Kind::Block { "block" } else { "char" };
    match (devices.major, devices.minor) {
        (Some(major), Some(minor)) => Some(format!("/dev/{kind}/{major}:{minor}")),
        (Some(major), None) => Some(format!("{kind}-{}", group(devices.kind, major, groups)?)),
        (None, None) => Some(format!("{kind}-*")),
        (None, Some(_)) => None,
    }
}

/// The name of a major number in /proc/devices: two lists, with a headline each.
fn group(kind: Kind, major: u32, groups: &str) -> Option<&str> {
    let headline = if kind == Kind::Block { "Block devices:" } else { "Character devices:" };
    let lines = groups.lines().skip_while(|line| *line != headline).skip(1);
    lines.take_while(|line| !line.is_empty()).find_map(|line| {
        let (number, name) = line.trim_start().split_once(' ')?;
        (number.parse() == Ok(major)).then_some(name)
    })
}

fn letters(access: u8) -> String {
    [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')]
        .iter()
        .filter(|(bit, _)| access & bit != 0)
        .map(|(_, c)| *c)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUPS: &str = "Character devices:\n  1 mem\n136 pts\n\nBlock devices:\n  7 loop\n254 virtblk\n";

    fn policy(rules: &str) -> Policy {
        Policy::for_container(&serde_json::from_str::<Vec<_>>(rules).unwrap()).unwrap()
    }

    fn nodes(rules: &str) -> Option<Vec<String>> {
        let text = |value: &Value| match value {
            Value::Struct(pair) => format!("{} {}", pair[0].as_text().unwrap(), pair[1].as_text().unwrap()),
            other => format!("{other:?}"),
        };
        Some(list(&policy(rules), GROUPS)?.iter().map(text).collect())
    }

    #[test]
    fn a_list_of_what_is_allowed() {
        let rules = r#"[{"allow":false,"access":"rwm"},{"allow":true,"type":"b","major":7,"access":"rw"}]"#;
        let found = nodes(rules).unwrap();
        for wanted in ["block-loop rw", "char-* m", "block-* m", "/dev/char/1:3 rwm", "char-pts rwm"] {
            assert!(found.iter().any(|node| node == wanted), "{wanted}: {found:?}");
        }
    }

    #[test]
    fn what_cannot_be_said_is_left_to_the_containers_filter() {
        assert_eq!(nodes(r#"[{"allow":true,"access":"rwm"}]"#), None);
        assert_eq!(nodes(r#"[{"allow":true,"type":"b","major":99,"access":"r"}]"#), None);
        assert_eq!(nodes(r#"[{"allow":true,"type":"c","minor":3,"access":"r"}]"#), None);
        let [(name, value), _] =
            properties(&policy(r#"[{"allow":true,"access":"rwm"}]"#)).try_into().unwrap();
        assert_eq!((name.as_str(), value), ("DevicePolicy", Value::text("auto")));
    }
}
