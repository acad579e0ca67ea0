//! Fields that take one of a list of words: which word is none of them, in runc's terms.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::blame::select;
use super::*;
use crate::Error;

/// A field that takes certain words.
struct Field {
    /// The object or the array that it is in; `[]` stands for every element.
    path: &'static str,
    /// Its name in that object; empty when the elements of the path are the words themselves.
    member: &'static str,
    /// Whether it takes a word.
    takes: fn(&str) -> bool,
    /// What runc says of one that it does not take; the object it is in comes along.
    refusal: fn(&str, &Value) -> String,
}

fn takes<T: DeserializeOwned>(word: &str) -> bool {
    serde_json::from_value::<T>(word.into()).is_ok()
}

const FIELDS: &[Field] = &[
    Field {
        path: "linux.namespaces[]",
        member: "type",
        takes: takes::<LinuxNamespaceType>,
        refusal: |word, namespace| {
            let path = namespace.get("path").and_then(Value::as_str).unwrap_or_default();
            format!("namespace {{{word:?} {path:?}}} does not exist")
        },
    },
    Field {
        path: "linux.devices[]",
        member: "type",
        takes: |word| word != "a" && takes::<LinuxDeviceType>(word),
        refusal: |word, _| format!("invalid device type {word:?}"),
    },
    Field {
        path: "linux.resources.devices[]",
        member: "type",
        takes: |word| matches!(word, "a" | "b" | "c"),
        refusal: |word, _| format!("invalid cgroup device type {word:?}"),
    },
    Field {
        path: "linux.seccomp.flags[]",
        member: "",
        takes: takes::<LinuxSeccompFilterFlag>,
        refusal: |word, _| format!("seccomp flag {word} is not known to runc"),
    },
    Field {
        path: "linux.seccomp.architectures[]",
        member: "",
        takes: takes::<Arch>,
        refusal: |word, _| format!("string {word} is not a valid arch for seccomp"),
    },
    Field {
        path: "linux.seccomp",
        member: "defaultAction",
        takes: takes::<LinuxSeccompAction>,
        refusal: action,
    },
    Field {
        path: "linux.seccomp.syscalls[]",
        member: "action",
        takes: takes::<LinuxSeccompAction>,
        refusal: action,
    },
    Field {
        path: "linux.seccomp.syscalls[].args[]",
        member: "op",
        takes: takes::<LinuxSeccompOperator>,
        refusal: |word, _| format!("string {word} is not a valid operator for seccomp"),
    },
    Field {
        path: "linux.memoryPolicy",
        member: "mode",
        takes: takes::<MemoryPolicyModeType>,
        refusal: |word, _| format!("invalid memory policy mode {word:?}"),
    },
    Field {
        path: "linux.memoryPolicy.flags[]",
        member: "",
        takes: takes::<MemoryPolicyFlagType>,
        refusal: |word, _| format!("invalid memory policy flag {word:?}"),
    },
    Field {
        path: "linux.personality",
        member: "domain",
        takes: takes::<LinuxPersonalityDomain>,
        refusal: |word, _| format!("invalid personality domain {word}"),
    },
    Field {
        path: "process.rlimits[]",
        member: "type",
        takes: takes::<PosixRlimitType>,
        refusal: |word, _| format!("wrong rlimit value: {word}"),
    },
    Field {
        path: "process.scheduler",
        member: "policy",
        takes: takes::<LinuxSchedulerPolicy>,
        refusal: |word, _| match word {
            "" => "scheduler policy is required".to_owned(),
            word => format!("invalid scheduler policy: {word}"),
        },
    },
    Field {
        path: "process.scheduler.flags[]",
        member: "",
        takes: takes::<LinuxSchedulerFlag>,
        refusal: |word, _| format!("invalid scheduler flag: {word}"),
    },
    Field {
        path: "process.ioPriority",
        member: "class",
        takes: takes::<IOPriorityClass>,
        refusal: |word, _| format!("invalid ioPriority.Class: {word:?}"),
    },
];

fn action(word: &str, _: &Value) -> String {
    format!("string {word} is not a valid action for seccomp")
}

/// The first field of `document` with a word that it does not take. What is no word at all is left to others.
pub fn find(document: &Value) -> Option<Error> {
    FIELDS.iter().find_map(|field| {
        select(document, field.path).into_iter().find_map(|(name, part)| field.wrong(&name, part))
    })
}

impl Field {
    fn wrong(&self, name: &str, part: &Value) -> Option<Error> {
        let (name, word) = match self.member {
            "" => (name.to_owned(), part.as_str()?),
            member => (format!("{name}.{member}"), part.get(member)?.as_str()?),
        };
        (!(self.takes)(word)).then(|| Error::new(name, (self.refusal)(word, part)))
    }
}

#[cfg(test)]
mod tests {
    use crate::runtime::parse;

    fn said(text: &str) -> String {
        parse(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn of_linux_in_runcs_words() {
        for (text, want) in [
            (
                r#""namespaces":[{"type":"pid"},{"type":"disk","path":"/x"}]"#,
                r#"linux.namespaces[1].type: namespace {"disk" "/x"} does not exist"#,
            ),
            (r#""namespaces":[{}]"#, r#"linux.namespaces[0].type: namespace {"" ""} does not exist"#),
            (
                r#""devices":[{"path":"/dev/x","type":"z"}]"#,
                r#"linux.devices[0].type: invalid device type "z""#,
            ),
            (
                r#""resources":{"devices":[{"type":"z"}]}"#,
                r#"linux.resources.devices[0].type: invalid cgroup device type "z""#,
            ),
            (r#""memoryPolicy":{"mode":"M"}"#, r#"linux.memoryPolicy.mode: invalid memory policy mode "M""#),
            (r#""memoryPolicy":{}"#, r#"linux.memoryPolicy.mode: invalid memory policy mode """#),
            (
                r#""memoryPolicy":{"mode":"MPOL_BIND","flags":["F"]}"#,
                r#"linux.memoryPolicy.flags[0]: invalid memory policy flag "F""#,
            ),
            (
                r#""personality":{"domain":"LINUX64"}"#,
                "linux.personality.domain: invalid personality domain LINUX64",
            ),
        ] {
            assert_eq!(said(&format!(r#"{{"linux":{{{text}}}}}"#)), want);
        }
    }

    #[test]
    fn of_seccomp_in_runcs_words() {
        for (text, want) in [
            (r#""flags":["NOPE"]"#, "linux.seccomp.flags[0]: seccomp flag NOPE is not known to runc"),
            (
                r#""architectures":["SCMP_ARCH_X86","SCMP_ARCH_Z80"]"#,
                "linux.seccomp.architectures[1]: string SCMP_ARCH_Z80 is not a valid arch for seccomp",
            ),
            (
                r#""defaultAction":"NOPE""#,
                "linux.seccomp.defaultAction: string NOPE is not a valid action for seccomp",
            ),
            (
                r#""syscalls":[{"names":["read"],"action":"NOPE"}]"#,
                "linux.seccomp.syscalls[0].action: string NOPE is not a valid action for seccomp",
            ),
            (
                r#""syscalls":[{"names":["read"],"action":"SCMP_ACT_LOG","args":[{"index":1,"op":"NOPE"}]}]"#,
                "linux.seccomp.syscalls[0].args[0].op: string NOPE is not a valid operator for seccomp",
            ),
        ] {
            let default = r#""defaultAction":"SCMP_ACT_ALLOW","#;
            let default = if text.contains("defaultAction") { "" } else { default };
            assert_eq!(said(&format!(r#"{{"linux":{{"seccomp":{{{default}{text}}}}}}}"#)), want);
        }
        let rules = r#"{"linux":{"seccomp":{"syscalls":[{"names":["a"],"action":"SCMP_ACT_LOG"}]}}}"#;
        assert_eq!(said(rules), "linux.seccomp.defaultAction: string  is not a valid action for seccomp");
    }

    #[test]
    fn of_the_process_in_runcs_words() {
        for (text, want) in [
            (r#""rlimits":[{"type":"RLIMIT_X"}]"#, "process.rlimits[0].type: wrong rlimit value: RLIMIT_X"),
            (r#""scheduler":{}"#, "process.scheduler.policy: scheduler policy is required"),
            (r#""scheduler":{"policy":"S"}"#, "process.scheduler.policy: invalid scheduler policy: S"),
            (
                r#""scheduler":{"policy":"SCHED_FIFO","flags":["S"]}"#,
                "process.scheduler.flags[0]: invalid scheduler flag: S",
            ),
            (r#""ioPriority":{"class":"S"}"#, r#"process.ioPriority.class: invalid ioPriority.Class: "S""#),
            (r#""ioPriority":{"priority":1}"#, r#"process.ioPriority.class: invalid ioPriority.Class: """#),
        ] {
            assert_eq!(said(&format!(r#"{{"process":{{{text}}}}}"#)), want);
        }
    }

    #[test]
    fn unknown_fields_are_passed_over_everywhere() {
        parse(
            br#"{"zork":1,"process":{"zork":1,"user":{"zork":1},"scheduler":{"policy":"SCHED_FIFO","zork":1}},
                "mounts":[{"destination":"/a","zork":{}}],"linux":{"zork":[],"namespaces":[{"type":"pid","zork":0}],
                "seccomp":{"defaultAction":"SCMP_ACT_ALLOW","zork":1,
                    "syscalls":[{"names":[],"action":"SCMP_ACT_LOG","zork":1}]},
                "resources":{"zork":1,"memory":{"zork":1}},"personality":{"domain":"LINUX","zork":1}}}"#,
        )
        .unwrap();
    }
}
