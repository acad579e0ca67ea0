//! `spec`: a new config.json to start from.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::Path;

use nix::unistd::{getegid, geteuid};

use crate::cgroup::Hierarchies;
use crate::cli::{Arity, Flag, Global, Matches, Verb};
use crate::error::{Context, Error, Result};

const FILE: &str = "config.json";

/// The verb.
pub const VERB: Verb = Verb {
    name: "spec",
    args: "",
    about: "create a new specification file",
    flags: &[
        Flag::value("bundle", Some("b"), "value", "path to the root of the bundle directory"),
        Flag::switch("rootless", None, "generate a configuration for a rootless container"),
    ],
    arity: Arity::Exact(0),
    flags_stop: false,
    run,
};

fn run(_: &Global, matches: &Matches) -> Result<i32> {
    // Without any hierarchy to look at, the document of version 1 asks for less.
    let unified = Hierarchies::read().is_ok_and(|hierarchies| hierarchies.unified_only());
    let text = match matches.flag("rootless") {
        true => oci::runtime::rootless_spec_json(geteuid().as_raw(), getegid().as_raw(), unified),
        false => oci::runtime::default_spec_json(unified),
    };
    let bundle = matches.value("bundle").filter(|bundle| !bundle.is_empty());
    write_new(&bundle.map(Path::new).unwrap_or(Path::new("")).join(FILE), &text)?;
    Ok(0)
}

/// Writes a file that must not be there yet.
fn write_new(path: &Path, text: &str) -> Result<()> {
    let mut file = match OpenOptions::new().write(true).create_new(true).open(path) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => {
            return Err(Error::new(format!("File {FILE} exists. Remove it first")));
        }
        other => other.with_context(|| format!("open {}", path.display()))?,
    };
    file.write_all(text.as_bytes()).with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_existing_file_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        write_new(&path, "a").unwrap();
        assert_eq!(
            write_new(&path, "b").unwrap_err().to_string(),
            "File config.json exists. Remove it first"
        );
        assert_eq!(std::fs::read_to_string(path).unwrap(), "a");
    }
}
