//! The unit of a container: its name and its slice, from config.json's `linux.cgroupsPath`; and where systemd puts its cgroup.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cgroup::{Error, Result};

const SLICE: &str = ".slice";

/// A container's scope. Kept in state.json under the keys that runc has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// The last part of `slice:prefix:name`: the container's id, for most callers.
    pub name: String,
    /// The slice; an empty one is systemd's default.
    pub parent: String,
    /// What stands before the name.
    pub scope_prefix: String,
    /// Whether the cgroup is a unit at all.
    #[serde(rename = "Systemd", default)]
    pub systemd: bool,
    /// Whether it is a unit of the user's own service manager.
    #[serde(rename = "Rootless", default)]
    pub user: bool,
}

impl Unit {
    /// The unit that `cgroups_path` names; without it, one named by the container's id.
    pub fn new(cgroups_path: Option<&Path>, id: &str, user: bool) -> Result<Self> {
        let path = cgroups_path.map(|path| path.to_string_lossy().into_owned()).unwrap_or_default();
        let parts: Vec<&str> = path.split(':').collect();
        let (parent, scope_prefix, name) = match parts.as_slice() {
            [""] => ("", "runc", id),
            [parent, prefix, name] => (*parent, *prefix, *name),
            _ => {
                let wanted = "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups";
                return Err(Error::Systemd(format!("{wanted}, got {path:?} instead")));
            }
        };
        let text = |text: &str| text.to_owned();
        let unit = Unit {
            name: text(name),
            parent: text(parent),
            scope_prefix: text(scope_prefix),
            systemd: true,
            user,
        };
        unit.check()?;
        Ok(unit)
    }

    /// Names become parts of paths.
    fn check(&self) -> Result<()> {
        let refuse = |reason: String| Err(Error::invalid("linux.cgroupsPath", reason));
        if self.name.ends_with(SLICE) {
            return refuse(format!("{} is a slice, and a container is a scope", self.name));
        }
        let scope = self.scope();
        let legal = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
        // systemd.unit(5): the valid characters, and 255 of them.
        if self.name.is_empty() || scope.len() > 255 || !scope.chars().all(legal) {
            return refuse(format!("{scope:?} is no name of a unit"));
        }
        expand(&self.slice()).map(drop)
    }

    /// The unit's name.
    pub fn scope(&self) -> String {
        format!("{}-{}.scope", self.scope_prefix, self.name)
    }

    /// The slice that it is in.
    pub fn slice(&self) -> String {
        match (self.parent.as_str(), self.user) {
            ("", false) => "system.slice".into(),
            ("", true) => "user.slice".into(),
            (parent, _) => parent.into(),
        }
    }

    /// Its cgroup, below that of the service manager.
    pub fn path(&self) -> Result<PathBuf> {
        Ok(expand(&self.slice())?.join(self.scope()))
    }

    /// What part of `dir` is below the unit's own cgroup: `/` and a path, or nothing.
    pub fn below(&self, dir: &Path) -> String {
        let scope = self.scope();
        let mut rest = dir.components();
        rest.find(|part| part.as_os_str() == scope.as_str());
        match rest.as_path().to_str().unwrap_or_default() {
            "" => String::new(),
            below => format!("/{below}"),
        }
    }
}

/// Dashes nest slices: `a-b.slice` is `a.slice/a-b.slice`, and `-.slice` the root (systemd.slice(5)).
fn expand(slice: &str) -> Result<PathBuf> {
    let invalid = || Error::invalid("linux.cgroupsPath", format!("invalid slice name: {slice}"));
    let stem = slice.strip_suffix(SLICE).filter(|stem| !stem.is_empty() && !slice.contains('/'));
    let stem = stem.ok_or_else(invalid)?;
    let mut path = PathBuf::new();
    if stem == "-" {
        return Ok(path);
    }
    let mut prefix = String::new();
    for part in stem.split('-') {
        if part.is_empty() || part == "." || part == ".." {
            return Err(invalid());
        }
        prefix.push_str(part);
        path.push(format!("{prefix}{SLICE}"));
        prefix.push('-');
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(path: &str) -> Result<Unit> {
        Unit::new(Some(Path::new(path)), "id", false)
    }

    #[test]
    fn paths_of_three_parts() {
        let of = |path: &str| unit(path).unwrap().path().unwrap().display().to_string();
        assert_eq!(of("machine.slice:libpod:abc"), "machine.slice/libpod-abc.scope");
        assert_eq!(of("a-b-c.slice:docker:abc"), "a.slice/a-b.slice/a-b-c.slice/docker-abc.scope");
        assert_eq!(of(":docker:abc"), "system.slice/docker-abc.scope");
        assert_eq!(of("-.slice:x:y"), "x-y.scope");
        assert_eq!(Unit::new(None, "id", false).unwrap().scope(), "runc-id.scope");
        assert_eq!(Unit::new(None, "id", true).unwrap().slice(), "user.slice");
    }

    #[test]
    fn what_is_no_unit_is_refused() {
        let said = unit("/docker/abc").unwrap_err().to_string();
        assert!(said.contains("slice:prefix:name") && said.contains("\"/docker/abc\""), "{said}");
        for bad in [
            "a:b",
            "a.slice:b:",
            "a/b.slice:b:c",
            ".slice:b:c",
            "a--b.slice:b:c",
            "-a.slice:b:c",
            "a:b:c",
            "a.slice:../..:c",
            "a.slice:b:c/d",
            "a.slice:b:c d",
            "a.slice:b:c.slice",
            "..slice:b:c",
        ] {
            assert!(unit(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn cgroups_below_the_units_own() {
        let unit = unit("a.slice:b:c").unwrap();
        let below = |path: &str| unit.below(Path::new(path));
        assert_eq!(below("/sys/fs/cgroup/a.slice/b-c.scope"), "");
        assert_eq!(below("/sys/fs/cgroup/a.slice/b-c.scope/x/y"), "/x/y");
    }
}
