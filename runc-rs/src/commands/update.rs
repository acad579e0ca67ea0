//! `update`: other limits for a container that runs.

use std::io::Read;
use std::num::{IntErrorKind, ParseIntError};
use std::path::Path;

use oci::runtime::LinuxResources;
use serde_json::{Map, Value};

use super::units;
use crate::cgroup;
use crate::cli::{Arity, Flag, Global, Matches, Verb};
use crate::error::{Context, Error, Result};
use crate::state::{Container, Status};
use crate::{resctrl, spec};

const INPUT_LIMIT: u64 = 16 << 20;

/// The verb.
pub const VERB: Verb = Verb {
    name: "update",
    args: "<container-id>",
    about: "update container resource constraints",
    flags: &[
        Flag::value(
            "resources",
            Some("r"),
            "value",
            "path to the file containing the resources to update or '-' to read from the standard input; \
             all other options are then ignored",
        ),
        Flag::value("blkio-weight", None, "value", "Specifies per cgroup weight, range is from 10 to 1000"),
        Flag::value(
            "cpu-period",
            None,
            "value",
            "CPU CFS period to be used for hardcapping (in usecs). 0 to use system default",
        ),
        Flag::value(
            "cpu-quota",
            None,
            "value",
            "CPU CFS hardcap limit (in usecs). Allowed cpu time in a given period",
        ),
        Flag::value(
            "cpu-burst",
            None,
            "value",
            "CPU CFS hardcap burst limit (in usecs). Allowed accumulated cpu time additionally for burst a given period",
        ),
        Flag::value("cpu-share", None, "value", "CPU shares (relative weight vs. other containers)"),
        Flag::value(
            "cpu-rt-period",
            None,
            "value",
            "CPU realtime period to be used for hardcapping (in usecs). 0 to use system default",
        ),
        Flag::value(
            "cpu-rt-runtime",
            None,
            "value",
            "CPU realtime hardcap limit (in usecs). Allowed cpu time in a given period",
        ),
        Flag::value("cpuset-cpus", None, "value", "CPU(s) to use"),
        Flag::value("cpuset-mems", None, "value", "Memory node(s) to use"),
        Flag::value("kernel-memory", None, "value", ""),
        Flag::value("kernel-memory-tcp", None, "value", ""),
        Flag::value("memory", None, "value", "Memory limit (in bytes)"),
        Flag::value(
            "cpu-idle",
            None,
            "value",
            "set cgroup SCHED_IDLE or not, 0: default behavior, 1: SCHED_IDLE",
        ),
        Flag::value("memory-reservation", None, "value", "Memory reservation or soft_limit (in bytes)"),
        Flag::value(
            "memory-swap",
            None,
            "value",
            "Total memory usage (memory + swap); set '-1' to enable unlimited swap",
        ),
        Flag::number("pids-limit", "Maximum number of pids allowed in the container"),
        Flag::value("l3-cache-schema", None, "value", "The string of Intel RDT/CAT L3 cache schema"),
        Flag::value("mem-bw-schema", None, "value", "The string of Intel RDT/MBA memory bandwidth schema"),
    ],
    arity: Arity::Exact(1),
    flags_stop: false,
    run,
};

/// How the text of a flag is read.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    Unsigned,
    Signed,
    Size,
}

/// Flags and the members of config.json's `linux.resources` that they stand for.
const FIELDS: &[(&str, &str, &str, Kind)] = &[
    ("blkio-weight", "blockIO", "weight", Kind::Unsigned),
    ("cpu-period", "cpu", "period", Kind::Unsigned),
    ("cpu-quota", "cpu", "quota", Kind::Signed),
    ("cpu-burst", "cpu", "burst", Kind::Unsigned),
    ("cpu-share", "cpu", "shares", Kind::Unsigned),
    ("cpu-rt-period", "cpu", "realtimePeriod", Kind::Unsigned),
    ("cpu-rt-runtime", "cpu", "realtimeRuntime", Kind::Signed),
    ("cpu-idle", "cpu", "idle", Kind::Signed),
    ("cpuset-cpus", "cpu", "cpus", Kind::Text),
    ("cpuset-mems", "cpu", "mems", Kind::Text),
    ("memory", "memory", "limit", Kind::Size),
    ("memory-reservation", "memory", "reservation", Kind::Size),
    ("memory-swap", "memory", "swap", Kind::Size),
    ("kernel-memory", "memory", "kernel", Kind::Size),
    ("kernel-memory-tcp", "memory", "kernelTCP", Kind::Size),
    ("pids-limit", "pids", "limit", Kind::Signed),
];

fn run(global: &Global, matches: &Matches) -> Result<i32> {
    let container = Container::load(&global.root, matches.id()?)?;
    let resources = match matches.value("resources").filter(|source| !source.is_empty()) {
        Some(source) => from_document(&read(source)?)?,
        None => from_flags(|name| matches.value(name))?,
    };
    update_resctrl(&container, matches)?;
    cgroup::warn_of_kernel_memory(&resources);
    let _lock = container.lock()?;
    if container.status()? == Status::Stopped {
        return Err(Error::NotRunning);
    }
    cgroup::update(&*container.cgroup()?, &resources)?;
    Ok(0)
}

fn read(source: &str) -> Result<Vec<u8>> {
    if source != "-" {
        return spec::read_bounded(Path::new(source));
    }
    let mut text = Vec::new();
    std::io::stdin().lock().take(INPUT_LIMIT + 1).read_to_end(&mut text).context("read standard input")?;
    if text.len() as u64 > INPUT_LIMIT {
        return Err(Error::new(format!("standard input is larger than {INPUT_LIMIT} bytes")));
    }
    Ok(text)
}

/// A document of the form of `linux.resources`; null is the same as nothing.
pub(crate) fn from_document(text: &[u8]) -> Result<LinuxResources> {
    let failed = |e: &oci::Error| Error::new(format!("parse resources: {e}"));
    let value = oci::runtime::first_value(text);
    value.and_then(oci::runtime::parse_resources).map_err(|e| failed(&e))
}

fn from_flags<'a>(given: impl Fn(&str) -> Option<&'a str>) -> Result<LinuxResources> {
    let mut document = Map::new();
    for (flag, part, member, kind) in FIELDS {
        if let Some(text) = given(flag).filter(|text| !text.is_empty()) {
            let value = kind.read(flag, text)?;
            let part = document.entry(*part).or_insert_with(|| Value::Object(Map::new()));
            part[*member] = value;
        }
    }
    // Nought is what this flag is when it is not given.
    if document.get("blockIO").is_some_and(|values| values["weight"] == 0) {
        document.remove("blockIO");
    }
    oci::runtime::parse_resources(Value::Object(document))
        .map_err(|e| Error::new(format!("invalid resources: {e}")))
}

impl Kind {
    fn read(self, flag: &str, text: &str) -> Result<Value> {
        let invalid = |reason: String| Error::new(format!("invalid value for {flag}: {reason}"));
        Ok(match self {
            Kind::Text => text.into(),
            Kind::Unsigned => {
                text.parse::<u64>().map_err(|e| invalid(go_words("ParseUint", text, &e)))?.into()
            }
            Kind::Signed => text.parse::<i64>().map_err(|e| invalid(go_words("ParseInt", text, &e)))?.into(),
            Kind::Size if text == "-1" => Value::from(-1),
            Kind::Size => units::ram_in_bytes(text).map_err(invalid)?.into(),
        })
    }
}

/// What Go says of a text that is no number.
fn go_words(call: &str, text: &str, e: &ParseIntError) -> String {
    let reason = match e.kind() {
        IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
        _ => "invalid syntax",
    };
    format!("strconv.{call}: parsing {text:?}: {reason}")
}

/// New lines for the container's share of cache and memory bandwidth. One that was created without any has no group.
fn update_resctrl(container: &Container, matches: &Matches) -> Result<()> {
    let mut lines = Vec::new();
    for (flag, text) in [
        ("l3-cache-schema", "Intel RDT/CAT: l3 cache schema is not enabled"),
        ("mem-bw-schema", "Intel RDT/MBA: memory bandwidth schema is not enabled"),
    ] {
        let Some(schema) = matches.value(flag).filter(|schema| !schema.is_empty()) else { continue };
        if container.state.intel_rdt_path.is_empty() {
            return Err(Error::new(text));
        }
        lines.extend(schema.lines().map(str::to_owned));
    }
    match lines.as_slice() {
        [] => Ok(()),
        lines => resctrl::update(Path::new(&container.state.intel_rdt_path), lines),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn flags(given: &[(&str, &'static str)]) -> Result<LinuxResources> {
        let given: BTreeMap<_, _> = given.iter().copied().collect();
        from_flags(|name| given.get(name).copied())
    }

    #[test]
    fn every_flag_has_a_field_or_a_meaning() {
        let fields: Vec<_> = FIELDS.iter().map(|(flag, ..)| *flag).collect();
        for flag in VERB.flags {
            let special = ["resources", "l3-cache-schema", "mem-bw-schema"].contains(&flag.name);
            assert!(special || fields.contains(&flag.name), "{}", flag.name);
        }
    }

    #[test]
    fn flags_become_resources() {
        let got = flags(&[
            ("memory", "10M"),
            ("memory-swap", "-1"),
            ("cpu-quota", "-1"),
            ("cpu-share", "512"),
            ("cpuset-cpus", "0-1"),
            ("pids-limit", "-1"),
            ("blkio-weight", "100"),
        ])
        .unwrap();
        let (memory, cpu) = (got.memory().unwrap(), got.cpu().clone().unwrap());
        assert_eq!((memory.limit(), memory.swap()), (Some(10 << 20), Some(-1)));
        assert_eq!((cpu.quota(), cpu.shares(), cpu.cpus().as_deref()), (Some(-1), Some(512), Some("0-1")));
        assert_eq!(got.pids().unwrap().limit(), -1);
        assert_eq!(got.block_io().clone().unwrap().weight(), Some(100));
        // It is a limit of the specification since 1.3.
        assert_eq!(flags(&[("pids-limit", "0")]).unwrap().pids().unwrap().limit(), 0);
        assert_eq!(flags(&[("blkio-weight", "0")]).unwrap(), LinuxResources::default());
    }

    #[test]
    fn bad_values_name_the_flag() {
        for (flag, text, want) in [
            ("memory", "lots", "invalid value for memory: invalid size: 'lots'"),
            (
                "cpu-period",
                "-1",
                "invalid value for cpu-period: strconv.ParseUint: parsing \"-1\": invalid syntax",
            ),
            (
                "cpu-quota",
                "x",
                "invalid value for cpu-quota: strconv.ParseInt: parsing \"x\": invalid syntax",
            ),
            (
                "cpu-quota",
                "9223372036854775808",
                "invalid value for cpu-quota: strconv.ParseInt: parsing \"9223372036854775808\": value out of range",
            ),
        ] {
            let got = flags(&[(flag, text)]).unwrap_err().to_string();
            assert!(got.starts_with(want), "{got}");
        }
    }

    #[test]
    fn documents() {
        let got = from_document(br#"{"memory":{"limit":5,"swap":null},"cpu":null} trailing"#).unwrap();
        assert_eq!(got.memory().unwrap().limit(), Some(5));
        assert!(from_document(b"").is_err() && from_document(b"{").is_err());
        let text = from_document(br#"{"memory":{"limit":"5"}}"#).unwrap_err().to_string();
        assert_eq!(text, "parse resources: linux.resources.memory.limit: string \"5\" is not an integer");
        assert_eq!(from_document(br#"{"pids":{}}"#).unwrap(), LinuxResources::default());
        assert_eq!(from_document(b"null").unwrap(), LinuxResources::default());
        assert!(from_document(b"[]").unwrap_err().to_string().contains("array is not an object"));
    }
}
