//! Which devices a container may use: config.json's ordered allow and deny rules, reduced to one default and its
//! exceptions, as both the version 1 controller and the version 2 program need them.
//!
//! The semantics are those of the version 1 controller (security/device_cgroup.c) with one difference, which is
//! runc's: a hole in a wildcard exception, which the kernel ignores in silence, is an error here.

use std::collections::BTreeMap;
use std::fmt;

use oci::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

use super::{Error, Result};

/// Access bits, as `struct bpf_cgroup_dev_ctx` has them (BPF_DEVCG_ACC_*).
pub const MKNOD: u8 = 1;
/// Reading.
pub const READ: u8 = 2;
/// Writing.
pub const WRITE: u8 = 4;
/// Everything.
pub const ALL: u8 = MKNOD | READ | WRITE;

/// What runc allows every container, after whatever config.json says: mknod of anything, the harmless character
/// devices, pseudo terminals, and tun. Kind, major, minor, access; `None` is every number.
const DEFAULTS: [(Kind, Option<u32>, Option<u32>, u8); 11] = [
    (Kind::Char, None, None, MKNOD),
    (Kind::Block, None, None, MKNOD),
    (Kind::Char, Some(1), Some(3), ALL),
    (Kind::Char, Some(1), Some(8), ALL),
    (Kind::Char, Some(1), Some(7), ALL),
    (Kind::Char, Some(5), Some(0), ALL),
    (Kind::Char, Some(1), Some(5), ALL),
    (Kind::Char, Some(1), Some(9), ALL),
    (Kind::Char, Some(136), None, ALL),
    (Kind::Char, Some(5), Some(2), ALL),
    (Kind::Char, Some(10), Some(200), ALL),
];

/// Kind of device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Block devices.
    Block,
    /// Character devices.
    Char,
}

/// Which devices an exception speaks of; `None` is every number. Ordered by number first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Devices {
    /// Upper half of the number.
    pub major: Option<u32>,
    /// Lower half of the number.
    pub minor: Option<u32>,
    /// Kind.
    pub kind: Kind,
}

/// One rule. Without `devices` it is about all of them, and sets the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Allow or deny.
    pub allow: bool,
    /// Which devices.
    pub devices: Option<Devices>,
    /// [`READ`], [`WRITE`], [`MKNOD`].
    pub access: u8,
}

/// A default and its exceptions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    allow: bool,
    exceptions: BTreeMap<Devices, u8>,
}

impl Policy {
    /// The policy of a container: nothing, then config.json's rules, then the default rules.
    pub fn for_container(rules: &[LinuxDeviceCgroup]) -> Result<Self> {
        let asked = rules.iter().enumerate().map(|(i, rule)| Rule::from_spec(i, rule));
        let defaults = DEFAULTS.iter().map(|&(kind, major, minor, access)| {
            Ok(Rule { allow: true, devices: Some(Devices { major, minor, kind }), access })
        });
        Self::from_rules(asked.chain(defaults).collect::<Result<Vec<_>>>()?)
    }

    /// Applies rules one after another to a policy that denies everything.
    pub fn from_rules(rules: impl IntoIterator<Item = Rule>) -> Result<Self> {
        let mut policy = Self::default();
        rules.into_iter().try_for_each(|rule| policy.apply(rule))?;
        Ok(policy)
    }

    /// What happens with a device that no exception names.
    pub fn allows_by_default(&self) -> bool {
        self.allow
    }

    /// Devices with the access that is contrary to the default.
    pub fn exceptions(&self) -> impl Iterator<Item = (&Devices, u8)> {
        self.exceptions.iter().map(|(devices, access)| (devices, *access))
    }

    fn apply(&mut self, rule: Rule) -> Result<()> {
        match rule.devices {
            None => *self = Self { allow: rule.allow, exceptions: BTreeMap::new() },
            Some(devices) if rule.allow != self.allow => {
                *self.exceptions.entry(devices).or_default() |= rule.access;
            }
            Some(devices) => self.retract(devices, rule)?,
        }
        Ok(())
    }

    /// Takes access away from an exception of exactly these devices.
    fn retract(&mut self, devices: Devices, rule: Rule) -> Result<()> {
        let wider = [
            Devices { major: None, ..devices },
            Devices { minor: None, ..devices },
            Devices { major: None, minor: None, ..devices },
        ];
        for wide in wider.into_iter().filter(|wide| *wide != devices) {
            if self.exceptions.get(&wide).is_some_and(|access| access & rule.access != 0) {
                let wide = Rule { allow: !rule.allow, devices: Some(wide), access: self.exceptions[&wide] };
                let reason = format!("rule [{rule}] cannot punch a hole in the wildcard rule [{wide}]");
                return Err(Error::invalid("linux.resources.devices", reason));
            }
        }
        if let Some(access) = self.exceptions.get_mut(&devices) {
            *access &= !rule.access;
            if *access == 0 {
                self.exceptions.remove(&devices);
            }
        }
        Ok(())
    }

    /// The fewest rules that turn `self` into `target`.
    pub fn transition(&self, target: &Policy) -> Vec<Rule> {
        let mut rules = Vec::new();
        // The exceptions of a cgroup that allows by default cannot be read, so such a one always starts afresh.
        let afresh = self.allow || self.allow != target.allow;
        let none = BTreeMap::new();
        let old = if afresh { &none } else { &self.exceptions };
        if afresh {
            rules.push(Rule { allow: target.allow, devices: None, access: ALL });
        }
        let change = |from: &BTreeMap<Devices, u8>, to: &BTreeMap<Devices, u8>, allow| {
            let lost = |(devices, access): (&Devices, &u8)| {
                let access = access & !to.get(devices).copied().unwrap_or_default();
                (access != 0).then_some(Rule { allow, devices: Some(*devices), access })
            };
            from.iter().filter_map(lost).collect::<Vec<_>>()
        };
        rules.extend(change(old, &target.exceptions, target.allow));
        rules.extend(change(&target.exceptions, old, !target.allow));
        rules
    }
}

impl Rule {
    /// A rule of config.json; `index` is its place, for errors.
    pub fn from_spec(index: usize, rule: &LinuxDeviceCgroup) -> Result<Self> {
        let field = |name: &str| format!("linux.resources.devices[{index}].{name}");
        let access = rule.access().as_deref().unwrap_or_default();
        if access.is_empty() {
            let reason = format!("device access at {index} field cannot be empty");
            return Err(Error::invalid(field("access"), reason));
        }
        let access = parse_access(access)
            .ok_or_else(|| Error::invalid(field("access"), format!("{access:?} is not of r, w and m")))?;
        let kind = match rule.typ().unwrap_or_default() {
            LinuxDeviceType::A => return Ok(Self { allow: rule.allow(), devices: None, access }),
            LinuxDeviceType::B => Kind::Block,
            LinuxDeviceType::C => Kind::Char,
            other => {
                let reason = format!("invalid cgroup device type {:?}", other.as_str());
                return Err(Error::invalid(field("type"), reason));
            }
        };
        let number = |name: &str, number: Option<i64>| match number {
            None | Some(-1) => Ok(None),
            Some(n) => u32::try_from(n)
                .map(Some)
                .map_err(|_| Error::invalid(field(name), format!("{n} is not a device number"))),
        };
        let devices =
            Devices { major: number("major", rule.major())?, minor: number("minor", rule.minor())?, kind };
        Ok(Self { allow: rule.allow(), devices: Some(devices), access })
    }

    /// A line of `devices.list`, which lists what is allowed: `c 1:3 rwm`.
    pub fn parse_allowed(line: &str) -> Option<Self> {
        let mut fields = line.split_ascii_whitespace();
        let kind = match fields.next()? {
            "a" => return Some(Self { allow: true, devices: None, access: ALL }),
            "b" => Kind::Block,
            "c" => Kind::Char,
            _ => return None,
        };
        let (major, minor) = fields.next()?.split_once(':')?;
        let number = |text: &str| if text == "*" { Some(None) } else { text.parse().ok().map(Some) };
        let devices = Devices { major: number(major)?, minor: number(minor)?, kind };
        Some(Self { allow: true, devices: Some(devices), access: parse_access(fields.next()?)? })
    }
}

/// As `devices.allow` and `devices.deny` take it.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |n: Option<u32>| n.map_or("*".to_owned(), |n| n.to_string());
        match self.devices {
            None => write!(f, "a *:* ")?,
            Some(Devices { major, minor, kind }) => {
                let kind = if kind == Kind::Block { 'b' } else { 'c' };
                write!(f, "{kind} {}:{} ", number(major), number(minor))?;
            }
        }
        for (bit, letter) in [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')] {
            if self.access & bit != 0 {
                write!(f, "{letter}")?;
            }
        }
        Ok(())
    }
}

/// `rwm` in any order; nothing at all is not access.
fn parse_access(text: &str) -> Option<u8> {
    let mut access = 0;
    for letter in text.chars() {
        access |= match letter {
            'r' => READ,
            'w' => WRITE,
            'm' => MKNOD,
            _ => return None,
        };
    }
    (access != 0).then_some(access)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(json: &str) -> Result<Policy> {
        let rules: Vec<LinuxDeviceCgroup> = serde_json::from_str(json).unwrap();
        let rules = rules.iter().enumerate().map(|(i, r)| Rule::from_spec(i, r));
        Policy::from_rules(rules.collect::<Result<Vec<_>>>()?)
    }

    fn lines(rules: &[Rule]) -> Vec<String> {
        rules.iter().map(|r| format!("{} {r}", if r.allow { "allow" } else { "deny" })).collect()
    }

    #[test]
    fn a_fresh_cgroup_is_denied_everything_then_allowed_the_defaults() {
        let fresh = Policy::from_rules([Rule::parse_allowed("a *:* rwm").unwrap()]).unwrap();
        let target = Policy::for_container(&[]).unwrap();
        let rules = lines(&fresh.transition(&target));
        assert_eq!(rules[0], "deny a *:* rwm");
        assert_eq!(rules.len(), 12);
        assert!(rules.contains(&"allow c 136:* rwm".into()) && rules.contains(&"allow b *:* m".into()));
    }

    #[test]
    fn only_differences_are_written() {
        let old = policy(
            r#"[{"allow":true,"type":"c","major":1,"minor":3,"access":"rwm"},
                             {"allow":true,"type":"b","major":8,"access":"r"}]"#,
        );
        let new = policy(
            r#"[{"allow":true,"type":"c","major":1,"minor":3,"access":"rw"},
                             {"allow":true,"type":"b","major":8,"access":"rw"}]"#,
        );
        let rules = old.unwrap().transition(&new.unwrap());
        assert_eq!(lines(&rules), ["deny c 1:3 m", "allow b 8:* w"]);
    }

    #[test]
    fn a_later_rule_for_all_devices_forgets_the_earlier_ones() {
        let got = policy(
            r#"[{"allow":false,"type":"b","major":8,"minor":1,"access":"rwm"},
                             {"allow":true,"access":"rwm"},
                             {"allow":false,"type":"b","major":8,"minor":2,"access":"rwm"}]"#,
        );
        let got = got.unwrap();
        assert!(got.allows_by_default());
        assert_eq!(got.exceptions().count(), 1);
    }

    #[test]
    fn a_hole_in_a_wildcard_is_refused() {
        let got = policy(
            r#"[{"allow":true,"type":"c","major":1,"access":"rwm"},
                             {"allow":false,"type":"c","major":1,"minor":3,"access":"w"}]"#,
        );
        let text = got.unwrap_err().to_string();
        assert!(text.contains("[c 1:3 w] cannot punch a hole in the wildcard rule [c 1:* rwm]"), "{text}");
    }

    #[test]
    fn bad_rules_are_named() {
        for (json, want) in [
            (r#"[{"allow":true,"type":"c"}]"#, "devices[0].access: device access at 0 field cannot be empty"),
            (r#"[{"allow":true,"type":"c","access":"rx"}]"#, "\"rx\" is not of r, w and m"),
            (
                r#"[{"allow":true,"type":"p","access":"r"}]"#,
                "devices[0].type: invalid cgroup device type \"p\"",
            ),
            (r#"[{"allow":true,"type":"c","major":-2,"access":"r"}]"#, "-2 is not a device number"),
        ] {
            let text = policy(json).unwrap_err().to_string();
            assert!(text.contains(want), "{text}");
        }
    }

    proptest::proptest! {
        /// Whatever two policies: applying the transition to the first gives the second.
        #[test]
        fn transition_arrives(old in rules(), new in rules()) {
            let (Ok(old), Ok(new)) = (Policy::from_rules(old), Policy::from_rules(new)) else { return Ok(()) };
            let mut got = old.clone();
            for rule in old.transition(&new) {
                if got.apply(rule).is_err() {
                    return Ok(());
                }
            }
            proptest::prop_assert_eq!(got, new);
        }
    }

    fn rules() -> impl proptest::strategy::Strategy<Value = Vec<Rule>> {
        use proptest::prelude::*;
        let number = prop_oneof![Just(None), (0u32..3).prop_map(Some)];
        let devices = (number.clone(), number, any::<bool>()).prop_map(|(major, minor, block)| Devices {
            major,
            minor,
            kind: if block { Kind::Block } else { Kind::Char },
        });
        let rule = (any::<bool>(), proptest::option::weighted(0.9, devices), 1u8..8)
            .prop_map(|(allow, devices, access)| Rule { allow, devices, access });
        proptest::collection::vec(rule, 0..8)
    }
}
