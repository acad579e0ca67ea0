//! Which field of a config.json is wrong.
//!
//! A typed parse says what it met and not where. So, once it has failed, the parts of the document are parsed one by
//! one, the smallest first, until one fails alike.

use serde::de::DeserializeOwned;
use serde_json::{Error as JsonError, Value};

use super::*;
use crate::Error;

type Check = fn(Value) -> Result<(), JsonError>;

/// Parts of config.json with their types; `[]` stands for every element of an array. Smaller parts come first.
const PARTS: &[(&str, Check)] = &[
    ("process.user", check::<User>),
    ("process.consoleSize", check::<oci_spec::runtime::Box>),
    ("process.capabilities", check::<LinuxCapabilities>),
    ("process.rlimits[]", check::<PosixRlimit>),
    ("process.scheduler", check::<Scheduler>),
    ("process.ioPriority", check::<LinuxIOPriority>),
    ("process.execCPUAffinity", check::<ExecCPUAffinity>),
    ("process", check::<Process>),
    ("root", check::<Root>),
    ("mounts[].uidMappings[]", check::<LinuxIdMapping>),
    ("mounts[].gidMappings[]", check::<LinuxIdMapping>),
    ("mounts[]", check::<Mount>),
    ("hooks.prestart[]", check::<Hook>),
    ("hooks.createRuntime[]", check::<Hook>),
    ("hooks.createContainer[]", check::<Hook>),
    ("hooks.startContainer[]", check::<Hook>),
    ("hooks.poststart[]", check::<Hook>),
    ("hooks.poststop[]", check::<Hook>),
    ("hooks", check::<Hooks>),
    ("linux.uidMappings[]", check::<LinuxIdMapping>),
    ("linux.gidMappings[]", check::<LinuxIdMapping>),
    ("linux.namespaces[]", check::<LinuxNamespace>),
    ("linux.devices[]", check::<LinuxDevice>),
    ("linux.resources.devices[]", check::<LinuxDeviceCgroup>),
    ("linux.resources.memory", check::<LinuxMemory>),
    ("linux.resources.cpu", check::<LinuxCpu>),
    ("linux.resources.pids", check::<LinuxPids>),
    ("linux.resources.blockIO.weightDevice[]", check::<LinuxWeightDevice>),
    ("linux.resources.blockIO", check::<LinuxBlockIo>),
    ("linux.resources.hugepageLimits[]", check::<LinuxHugepageLimit>),
    ("linux.resources.network.priorities[]", check::<LinuxInterfacePriority>),
    ("linux.resources.network", check::<LinuxNetwork>),
    ("linux.resources", check::<LinuxResources>),
    ("linux.seccomp.syscalls[].args[]", check::<LinuxSeccompArg>),
    ("linux.seccomp.syscalls[]", check::<LinuxSyscall>),
    ("linux.seccomp", check::<LinuxSeccomp>),
    ("linux.intelRdt", check::<LinuxIntelRdt>),
    ("linux.memoryPolicy", check::<LinuxMemoryPolicy>),
    ("linux.personality", check::<LinuxPersonality>),
    ("linux", check::<Linux>),
];

fn check<T: DeserializeOwned>(value: Value) -> Result<(), JsonError> {
    serde_json::from_value::<T>(value).map(drop)
}

/// Refuses arrays in the place of objects, which the types would take: their members in order.
pub fn check_objects(document: &Value) -> Result<(), Error> {
    for (path, _) in PARTS.iter().filter(|(path, _)| !path.contains("[]")) {
        let found = path.split('.').try_fold(document, |value, key| value.get(key));
        if found.is_some_and(Value::is_array) {
            return Err(Error::new(*path, "array is not an object"));
        }
    }
    Ok(())
}

/// The field of `document` that made the whole fail with `error`.
pub fn find(document: &Value, error: &JsonError) -> Error {
    for (path, check) in PARTS {
        for (name, part) in select(document, path) {
            if let Err(error) = check(part.clone()) {
                return narrow(name, part, *check, &error);
            }
        }
    }
    narrow(String::new(), document, check_spec, error)
}

fn check_spec(value: Value) -> Result<(), JsonError> {
    check::<Spec>(value)
}

/// The one member without which the part would be right, if there is one; else the part itself.
fn narrow(name: String, part: &Value, check: Check, error: &JsonError) -> Error {
    let members = part.as_object().into_iter().flatten();
    for (member, _) in members {
        let mut without = part.clone();
        if let Some(map) = without.as_object_mut() {
            map.remove(member);
        }
        let right = match check(without) {
            Ok(()) => true,
            // A required member: all that is wrong without it is that it is missing.
            Err(e) => e.to_string().starts_with(&format!("missing field `{member}`")),
        };
        if right {
            let dot = if name.is_empty() { "" } else { "." };
            return Error::new(format!("{name}{dot}{member}"), plain(error));
        }
    }
    Error::new(name, plain(error))
}

/// What is there and what should be, without the names that the types have here.
fn plain(error: &JsonError) -> String {
    let text = error.to_string();
    let met = text.strip_prefix("invalid type: ").or_else(|| text.strip_prefix("invalid value: "));
    match met.and_then(|rest| rest.split_once(", expected ")) {
        Some((met, expected)) => format!("{} is not {}", met.replace('`', ""), kind(expected)),
        None => text,
    }
}

fn kind(expected: &str) -> &str {
    match expected {
        "i64" | "i32" => "an integer",
        "u64" | "usize" => "an integer from 0 on",
        "u32" => "an integer from 0 to 4294967295",
        "u16" => "an integer from 0 to 65535",
        "a sequence" => "an array",
        "path string" | "string or map" => "a string",
        "a boolean" => "true or false",
        other if other == "a map" || other.starts_with("struct ") => "an object",
        other => other,
    }
}

/// The parts of `document` that `path` names, each with its own name.
pub fn select<'a>(document: &'a Value, path: &str) -> Vec<(String, &'a Value)> {
    let mut found = vec![(String::new(), document)];
    for step in path.split('.') {
        let key = step.trim_end_matches("[]");
        let each = step.ends_with("[]");
        found =
            found.into_iter().filter_map(|(name, value)| Some((join(&name, key), value.get(key)?))).collect();
        if each {
            found = found.into_iter().flat_map(|(name, value)| elements(&name, value)).collect();
        }
    }
    found
}

fn join(name: &str, key: &str) -> String {
    if name.is_empty() { key.to_owned() } else { format!("{name}.{key}") }
}

fn elements<'a>(name: &str, value: &'a Value) -> Vec<(String, &'a Value)> {
    let items = value.as_array().into_iter().flatten();
    items.enumerate().map(|(i, item)| (format!("{name}[{i}]"), item)).collect()
}

#[cfg(test)]
mod tests {
    use crate::runtime::parse;

    #[test]
    fn fields_are_named() {
        for (text, field) in [
            (r#"{"ociVersion":1}"#, "ociVersion"),
            (r#"{"process":{"cwd":"/","user":{"uid":-1}}}"#, "process.user.uid"),
            (r#"{"process":{"cwd":5}}"#, "process.cwd"),
            (
                r#"{"process":{"cwd":"/","rlimits":[{"type":"RLIMIT_X","hard":1,"soft":1}]}}"#,
                "process.rlimits[0].type",
            ),
            (r#"{"mounts":[{"destination":"/a"},{"destination":7}]}"#, "mounts[1]"),
            (r#"{"linux":{"resources":{"memory":{"limit":"1g"}}}}"#, "linux.resources.memory.limit"),
            (r#"{"linux":{"namespaces":[{"type":"pid"},{"type":"disk"}]}}"#, "linux.namespaces[1]"),
            (r#"{"linux":{"seccomp":{"defaultAction":"SCMP_ACT_NOPE"}}}"#, "linux.seccomp"),
            (
                r#"{"linux":{"seccomp":{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_Z80"]}}}"#,
                "linux.seccomp.architectures",
            ),
        ] {
            let error = parse(text.as_bytes()).unwrap_err();
            assert!(error.field().starts_with(field), "{text}: {error}");
        }
    }
    #[test]
    fn what_is_there_is_told_in_plain_words() {
        for (text, want) in [
            (r#"{"process":{"cwd":5}}"#, "process.cwd: integer 5 is not a string"),
            (
                r#"{"linux":{"resources":{"memory":{"limit":"1g"}}}}"#,
                r#"linux.resources.memory.limit: string "1g" is not an integer"#,
            ),
            (r#"{"process":{"args":"sh"}}"#, r#"process.args: string "sh" is not an array"#),
            (r#"{"process":{"terminal":1}}"#, "process.terminal: integer 1 is not true or false"),
            (r#"{"root":["/x"]}"#, "root: array is not an object"),
            (r#"{"linux":{"resources":[]}}"#, "linux.resources: array is not an object"),
            (r#"{"root":"x"}"#, r#"root: string "x" is not an object"#),
            (
                r#"{"process":{"user":{"uid":-1}}}"#,
                "process.user.uid: integer -1 is not an integer from 0 to 4294967295",
            ),
            (
                r#"{"linux":{"seccomp":{"defaultAction":5}}}"#,
                "linux.seccomp.defaultAction: integer 5 is not a string",
            ),
        ] {
            assert_eq!(parse(text.as_bytes()).unwrap_err().to_string(), want);
        }
    }
}
