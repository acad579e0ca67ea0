//! docker's profile documents: `linux.seccomp` with conditions (`includes`, `excludes`) and a map of architectures.

use serde::Deserialize;
use serde_json::Value;

use super::Target;
use crate::Error;
use crate::runtime::LinuxSeccomp;

/// More than any real profile.
const MAX_SIZE: usize = 4 << 20;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    #[serde(default)]
    default_action: String,
    #[serde(default)]
    architectures: Option<Vec<Value>>,
    #[serde(default)]
    arch_map: Option<Vec<ArchEntry>>,
    #[serde(default)]
    syscalls: Option<Vec<Call>>,
    #[serde(flatten)]
    rest: serde_json::Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArchEntry {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    sub_architectures: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Call {
    #[serde(default)]
    name: String,
    #[serde(default)]
    names: Option<Vec<String>>,
    #[serde(default)]
    includes: Option<Filter>,
    #[serde(default)]
    excludes: Option<Filter>,
    #[serde(flatten)]
    rule: serde_json::Map<String, Value>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Filter {
    #[serde(default)]
    caps: Option<Vec<String>>,
    #[serde(default)]
    arches: Option<Vec<String>>,
    #[serde(default)]
    min_kernel: Option<String>,
}

/// Reads a profile (`--security-opt seccomp=FILE`) for a container. `None` for one that says nothing, which means no
/// filter at all.
pub fn from_profile(text: &[u8], target: &Target<'_>) -> Result<Option<LinuxSeccomp>, Error> {
    let failed = |reason: String| Error::new("", format!("Decoding seccomp profile failed: {reason}"));
    if text.len() > MAX_SIZE {
        return Err(failed(format!("{} bytes are more than the {MAX_SIZE} allowed", text.len())));
    }
    let profile: Profile = serde_json::from_slice(text).map_err(|e| failed(e.to_string()))?;
    let calls = profile.syscalls.unwrap_or_default();
    if profile.default_action.is_empty() && calls.is_empty() {
        return Ok(None);
    }
    let mut document = profile.rest;
    document.retain(|_, value| !value.is_null());
    document.insert("defaultAction".into(), profile.default_action.into());
    let arches = architectures(profile.architectures, profile.arch_map, target)?;
    document.insert("architectures".into(), arches.into());
    let rules = calls.into_iter().filter_map(|call| rule(call, target).transpose());
    document.insert("syscalls".into(), Value::Array(rules.collect::<Result<_, _>>()?));
    serde_json::from_value(Value::Object(document)).map(Some).map_err(|e| failed(e.to_string()))
}

fn architectures(
    plain: Option<Vec<Value>>,
    map: Option<Vec<ArchEntry>>,
    target: &Target<'_>,
) -> Result<Vec<Value>, Error> {
    let (plain, map) = (plain.unwrap_or_default(), map.unwrap_or_default());
    if !plain.is_empty() && !map.is_empty() {
        let reason = "both 'architectures' and 'archMap' are specified in the seccomp profile, use either \
                      'architectures' or 'archMap'";
        return Err(Error::new("architectures", reason));
    }
    let Some((_, native)) = target.names() else { return Ok(plain) };
    match map.into_iter().find(|entry| entry.architecture == native) {
        Some(entry) => {
            let sub = entry.sub_architectures.unwrap_or_default();
            Ok(std::iter::once(entry.architecture).chain(sub).map(Value::from).collect())
        }
        None => Ok(plain),
    }
}

/// The rule, if it is for this container.
fn rule(call: Call, target: &Target<'_>) -> Result<Option<Value>, Error> {
    let mut names = call.names.unwrap_or_default();
    if !call.name.is_empty() {
        if !names.is_empty() {
            let reason =
                "both 'name' and 'names' are specified in the seccomp profile, use either 'name' or 'names'";
            return Err(Error::new("syscalls", reason));
        }
        names.push(call.name);
    }
    if let Some(filter) = &call.excludes
        && excludes(filter, target)?
    {
        return Ok(None);
    }
    if let Some(filter) = &call.includes
        && !includes(filter, target)?
    {
        return Ok(None);
    }
    let mut rule = call.rule;
    rule.retain(|_, value| !value.is_null());
    rule.insert("names".into(), names.into());
    Ok(Some(Value::Object(rule)))
}

/// Whether any of the conditions holds.
fn excludes(filter: &Filter, target: &Target<'_>) -> Result<bool, Error> {
    let arch = target.names().map(|(docker, _)| docker).unwrap_or_default();
    Ok(filter.arches.iter().flatten().any(|name| name == arch)
        || filter.caps.iter().flatten().any(|name| target.has(name))
        || filter.min_kernel.as_deref().map(release).transpose()?.is_some_and(|from| target.kernel >= from))
}

/// Whether all of the conditions hold.
fn includes(filter: &Filter, target: &Target<'_>) -> Result<bool, Error> {
    let arch = target.names().map(|(docker, _)| docker).unwrap_or_default();
    let arches = filter.arches.as_deref().unwrap_or_default();
    Ok((arches.is_empty() || arches.iter().any(|name| name == arch))
        && filter.caps.iter().flatten().all(|name| target.has(name))
        && filter.min_kernel.as_deref().map(release).transpose()?.is_none_or(|from| target.kernel >= from))
}

/// `4.8`
fn release(text: &str) -> Result<(u32, u32), Error> {
    let parsed = text.split_once('.').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    parsed.ok_or_else(|| {
        Error::new("syscalls.minKernel", format!("{text:?} is not a kernel release such as 4.8"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, caps: &[&str]) -> Result<Option<LinuxSeccomp>, Error> {
        let capabilities: Vec<String> = caps.iter().map(|c| (*c).to_owned()).collect();
        from_profile(
            text.as_bytes(),
            &Target { capabilities: &capabilities, arch: "x86_64", kernel: (5, 10) },
        )
    }

    #[test]
    fn conditions_are_resolved() {
        let text = r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":1,
            "archMap":[{"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86"]}],
            "syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW","args":null,"comment":"x"},
              {"name":"mount","action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_SYS_ADMIN"]}},
              {"name":"ptrace","action":"SCMP_ACT_ALLOW","includes":{"minKernel":"4.8"}},
              {"name":"bpf","action":"SCMP_ACT_ALLOW","excludes":{"arches":["amd64"]}}]}"#;
        let names = |caps: &[&str]| -> Vec<String> {
            let profile = read(text, caps).unwrap().unwrap();
            profile.syscalls().iter().flatten().flat_map(|s| s.names().clone()).collect()
        };
        assert_eq!(names(&[]), ["read", "ptrace"]);
        assert_eq!(names(&["CAP_SYS_ADMIN"]), ["read", "mount", "ptrace"]);
        assert_eq!(read(text, &[]).unwrap().unwrap().architectures().as_ref().unwrap().len(), 2);
    }

    #[test]
    fn an_empty_profile_is_no_filter_and_nonsense_is_told() {
        assert_eq!(read("{}", &[]).unwrap(), None);
        for (text, want) in [
            ("x", "Decoding seccomp profile failed"),
            (r#"{"defaultAction":"SCMP_ACT_NOPE","syscalls":[]}"#, "SCMP_ACT_NOPE"),
            (
                r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"a","names":["b"]}]}"#,
                "both 'name' and 'names'",
            ),
            (
                r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86"],"archMap":[{"architecture":"x"}]}"#,
                "both 'architectures' and 'archMap'",
            ),
            (
                r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"a","includes":{"minKernel":"new"}}]}"#,
                "\"new\" is not a kernel release",
            ),
        ] {
            let got = read(text, &[]).unwrap_err().to_string();
            assert!(got.contains(want), "{got}");
        }
    }
}
