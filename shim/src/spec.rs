//! The few facts of config.json that the shim itself needs. The executor reads the rest.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use errors::{Context, Error, Kind, Result, WithKind};
use serde::Deserialize;

/// No sane spec is larger.
const LIMIT: u64 = 16 << 20;

/// Annotations that name the group of containers a shim serves, in order of precedence.
const GROUPS: [&str; 2] = ["io.containerd.runc.v2.group", "io.kubernetes.cri.sandbox-id"];

/// The facts.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Spec {
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
    #[serde(default)]
    linux: Option<Linux>,
    #[serde(default)]
    hooks: Option<Hooks>,
}

#[derive(Debug, Default, Deserialize)]
struct Hooks {
    #[serde(default)]
    poststart: Option<Vec<serde::de::IgnoredAny>>,
    #[serde(default)]
    poststop: Option<Vec<serde::de::IgnoredAny>>,
}

#[derive(Debug, Default, Deserialize)]
struct Linux {
    #[serde(default)]
    namespaces: Option<Vec<Namespace>>,
}

#[derive(Debug, Deserialize)]
struct Namespace {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    path: String,
}

impl Spec {
    /// Reads config.json of a bundle.
    ///
    /// # Errors
    /// Fails if it is missing, too large, or no JSON of this shape.
    pub(crate) fn read(bundle: &Path) -> Result<Spec> {
        let path = bundle.join("config.json");
        let named = || format!("read {}", path.display());
        let mut text = Vec::new();
        File::open(&path).context(named)?.take(LIMIT + 1).read_to_end(&mut text).context(named)?;
        if text.len() as u64 > LIMIT {
            return Err(Error::invalid(format!("{} is larger than {LIMIT} bytes", path.display())));
        }
        serde_json::from_slice(&text).kind(Kind::InvalidArgument, || format!("parse {}", path.display()))
    }

    /// The group whose containers share a shim, if it is in one.
    pub(crate) fn group(&self) -> Option<&str> {
        let annotations = self.annotations.as_ref()?;
        GROUPS.iter().find_map(|name| annotations.get(*name)).map(String::as_str)
    }

    /// Are programs run when the container is deleted? They may look at its root.
    pub(crate) fn has_poststop_hooks(&self) -> bool {
        self.has_hooks(|hooks| &hooks.poststop)
    }

    /// Are programs run when the container has been started?
    pub(crate) fn has_poststart_hooks(&self) -> bool {
        self.has_hooks(|hooks| &hooks.poststart)
    }

    fn has_hooks(&self, of: impl Fn(&Hooks) -> &Option<Vec<serde::de::IgnoredAny>>) -> bool {
        self.hooks.as_ref().and_then(|hooks| of(hooks).as_ref()).is_some_and(|hooks| !hooks.is_empty())
    }

    /// Does the kernel end every process of the container with its init? So it does in a pid namespace of its
    /// own.
    pub(crate) fn has_own_pid_namespace(&self) -> bool {
        let namespaces = self.linux.iter().flat_map(|linux| linux.namespaces.iter().flatten());
        namespaces.into_iter().any(|namespace| namespace.kind == "pid" && namespace.path.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(json: &str) -> Spec {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn groups_in_order_of_precedence() {
        assert_eq!(spec("{}").group(), None);
        let pod = r#"{"annotations":{"io.kubernetes.cri.sandbox-id":"pod"}}"#;
        assert_eq!(spec(pod).group(), Some("pod"));
        let both =
            r#"{"annotations":{"io.kubernetes.cri.sandbox-id":"pod","io.containerd.runc.v2.group":"g"}}"#;
        assert_eq!(spec(both).group(), Some("g"));
    }

    #[test]
    fn hooks_after_the_end_are_seen() {
        for (json, any) in [
            ("{}", false),
            (r#"{"hooks":null}"#, false),
            (r#"{"hooks":{"prestart":[{"path":"/x"}],"poststop":[]}}"#, false),
            (r#"{"hooks":{"poststop":[{"path":"/x"}]}}"#, true),
        ] {
            assert_eq!(spec(json).has_poststop_hooks(), any, "{json}");
            let other = json.replace("poststop", "poststart");
            assert_eq!(spec(&other).has_poststart_hooks(), any, "{other}");
        }
    }

    #[test]
    fn a_pid_namespace_counts_if_it_is_new() {
        for (json, own) in [
            (r#"{"linux":{"namespaces":[{"type":"mount"},{"type":"pid"}]}}"#, true),
            (r#"{"linux":{"namespaces":[{"type":"pid","path":"/proc/1/ns/pid"}]}}"#, false),
            (r#"{"linux":{"namespaces":null}}"#, false),
            (r#"{"annotations":null}"#, false),
        ] {
            assert_eq!(spec(json).has_own_pid_namespace(), own, "{json}");
        }
    }
}
