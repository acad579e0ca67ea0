//! What Go's decoder makes of fields that are not there.
//!
//! To Go every absent field has its type's zero value, and many a config.json relies on it; the types here ask for some fields. A document
//! that does not fit them is filled up and tried again, so that one that fits pays nothing.

use serde_json::{Map, Value, json};

/// Objects by path (`[]` stands for every element), a member that the types ask for, and its zero value.
fn required() -> [(&'static str, &'static str, Value); 21] {
    [
        ("linux.namespaces[]", "type", json!("")),
        ("linux.devices[]", "type", json!("")),
        ("linux.seccomp", "defaultAction", json!("")),
        ("linux.seccomp.syscalls[]", "names", json!([])),
        ("linux.seccomp.syscalls[]", "action", json!("")),
        ("linux.seccomp.syscalls[].args[]", "index", json!(0)),
        ("linux.seccomp.syscalls[].args[]", "value", json!(0)),
        ("linux.seccomp.syscalls[].args[]", "op", json!("")),
        ("linux.personality", "domain", json!("")),
        ("linux.memoryPolicy", "mode", json!("")),
        ("process.rlimits[]", "type", json!("")),
        ("process.scheduler", "policy", json!("")),
        ("process.user", "uid", json!(0)),
        ("mounts[]", "destination", json!("")),
        ("root", "path", json!("")),
        ("hooks.prestart[]", "path", json!("")),
        ("hooks.createRuntime[]", "path", json!("")),
        ("hooks.createContainer[]", "path", json!("")),
        ("hooks.startContainer[]", "path", json!("")),
        ("hooks.poststart[]", "path", json!("")),
        ("hooks.poststop[]", "path", json!("")),
    ]
}

/// Fields whose absence means something else than the zero value to the types, or that they would not go without. Cheap: done to every
/// document.
pub fn add(document: &mut Value) {
    if let Some(process) = document.get_mut("process").and_then(Value::as_object_mut) {
        process.entry("user").or_insert_with(|| Value::Object(Map::new()));
        process.entry("cwd").or_insert_with(|| "".into());
        // The types know a class for it; to runc it is an error.
        if let Some(io) = process.get_mut("ioPriority").and_then(Value::as_object_mut) {
            io.entry("class").or_insert_with(|| "".into());
        }
    }
    let Some(linux) = document.get_mut("linux").and_then(Value::as_object_mut) else { return };
    if linux.get("seccomp").is_some_and(says_nothing) {
        linux.remove("seccomp");
    }
    // Nought is a limit, and none at all is not (runtime-spec 1.3, config-linux.md, "PIDs").
    if let Some(resources) = linux.get_mut("resources").and_then(Value::as_object_mut)
        && resources.get("pids").and_then(Value::as_object).is_some_and(|pids| !pids.contains_key("limit"))
    {
        resources.remove("pids");
    }
}

/// A profile without a default action and without rules is none, whatever else it says.
fn says_nothing(seccomp: &Value) -> bool {
    let Some(seccomp) = seccomp.as_object() else { return false };
    let action = seccomp.get("defaultAction").is_none_or(|action| action == "");
    action && seccomp.get("syscalls").is_none_or(|calls| calls.as_array().is_some_and(Vec::is_empty))
}

/// Fills up a document that did not fit the types.
pub fn fill(document: &mut Value) {
    for (path, member, zero) in required() {
        each(document, path, &mut |object| {
            if let Some(object) = object.as_object_mut() {
                object.entry(member).or_insert_with(|| zero.clone());
            }
        });
    }
    // An empty type is the wildcard's, as an absent one.
    each(document, "linux.resources.devices[]", &mut |rule| {
        if let Some(rule) = rule.as_object_mut()
            && rule.get("type").is_some_and(|kind| kind == "")
        {
            rule.remove("type");
        }
    });
    each(document, "process.execCPUAffinity", &mut |affinity| {
        affinity.as_object_mut().into_iter().for_each(tidy_lists);
    });
    // The types spell this one word otherwise than the specification does.
    each(document, "process.scheduler.flags[]", &mut |flag| {
        if *flag == "SCHED_FLAG_DL_OVERRUN" {
            *flag = "SCHED_FLAG_D_L_OVERRUN".into();
        }
    });
}

/// Lists of processors with blanks and empty elements, which runc takes, without them; an empty list is none.
fn tidy_lists(lists: &mut Map<String, Value>) {
    for list in lists.values_mut() {
        if let Some(text) = list.as_str() {
            let parts: Vec<&str> = text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
            *list = parts.join(",").into();
        }
    }
    lists.retain(|_, list| *list != "");
}

/// Does `act` to every part of `document` that `path` names.
fn each(document: &mut Value, path: &str, act: &mut dyn FnMut(&mut Value)) {
    let (step, rest) = path.split_once('.').map_or((path, None), |(step, rest)| (step, Some(rest)));
    let key = step.trim_end_matches("[]");
    let Some(found) = document.get_mut(key) else { return };
    let mut go = |value: &mut Value| match rest {
        Some(rest) => each(value, rest, act),
        None => act(value),
    };
    match found.as_array_mut() {
        Some(items) if step.ends_with("[]") => items.iter_mut().for_each(go),
        None if !step.ends_with("[]") => go(found),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use crate::runtime::parse;

    #[test]
    fn a_profile_that_says_nothing_is_none() {
        for text in [
            "{}",
            r#"{"defaultAction":""}"#,
            r#"{"syscalls":[],"architectures":["SCMP_ARCH_Z80"],"flags":["NONSENSE"]}"#,
            r#"{"defaultAction":null,"syscalls":null}"#,
        ] {
            let spec = parse(format!(r#"{{"linux":{{"seccomp":{text}}}}}"#).as_bytes()).unwrap();
            assert_eq!(spec.linux().as_ref().unwrap().seccomp(), &None, "{text}");
        }
        let spec = parse(br#"{"linux":{"seccomp":{"defaultAction":"SCMP_ACT_ALLOW"}}}"#).unwrap();
        assert!(spec.linux().as_ref().unwrap().seccomp().is_some());
        for text in ["5", "[]", r#"{"syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW"}]}"#] {
            parse(format!(r#"{{"linux":{{"seccomp":{text}}}}}"#).as_bytes()).unwrap_err();
        }
    }

    #[test]
    fn a_limit_of_nought_is_one_and_none_is_not() {
        let limit = |text: &str| {
            let spec = parse(format!(r#"{{"linux":{{"resources":{{"pids":{text}}}}}}}"#).as_bytes()).unwrap();
            let resources = spec.linux().as_ref().unwrap().resources().clone().unwrap();
            resources.pids().map(|pids| pids.limit())
        };
        assert_eq!(limit("{}"), None);
        assert_eq!(limit(r#"{"limit":null}"#), None);
        assert_eq!(limit(r#"{"limit":0}"#), Some(0));
        assert_eq!(limit(r#"{"limit":-1}"#), Some(-1));
    }

    #[test]
    fn what_is_not_there_is_nought_or_empty() {
        let spec = parse(
            br#"{"mounts":[{"type":"tmpfs"}],"hooks":{"poststop":[{"args":["x"]}]},"linux":{
                "seccomp":{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"action":"SCMP_ACT_ERRNO"},
                    {"names":["read"],"action":"SCMP_ACT_ERRNO","args":[{"op":"SCMP_CMP_EQ"}]}]},
                "resources":{"devices":[{"type":"","access":"r"}]}}}"#,
        )
        .unwrap();
        let linux = spec.linux().as_ref().unwrap();
        let rules = linux.seccomp().as_ref().unwrap().syscalls().as_ref().unwrap();
        assert!(rules[0].names().is_empty());
        let arg = &rules[1].args().as_ref().unwrap()[0];
        assert_eq!((arg.index(), arg.value()), (0, 0));
        assert_eq!(linux.resources().as_ref().unwrap().devices().as_ref().unwrap()[0].typ(), None);
        assert_eq!(spec.mounts().as_ref().unwrap()[0].destination(), std::path::Path::new(""));
    }

    #[test]
    fn words_and_lists_of_the_specification_are_taken() {
        let spec = parse(
            br#"{"process":{"scheduler":{"policy":"SCHED_DEADLINE","flags":["SCHED_FLAG_DL_OVERRUN"]},
                "execCPUAffinity":{"initial":" 0-1, 3,,","final":""}}}"#,
        )
        .unwrap();
        let process = spec.process().as_ref().unwrap();
        let affinity = process.exec_cpu_affinity().as_ref().unwrap();
        assert_eq!((affinity.initial().as_deref(), affinity.cpu_affinity_final()), (Some("0-1,3"), &None));
        let flags = process.scheduler().as_ref().unwrap().flags().clone().unwrap();
        assert_eq!(flags, [crate::runtime::LinuxSchedulerFlag::SchedFlagDLOverrun]);
    }
}
