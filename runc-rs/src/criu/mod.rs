//! Checkpoint and restore by criu: the container is told to it mount by mount, and it does the rest.

pub mod checkpoint;
mod external;
mod lent;
pub mod options;
pub mod restore;
mod rpc;
mod wire;

use std::collections::BTreeMap;
use std::path::Path;

use crate::error::{Error, Result};
use crate::log;
use options::Options;
use rpc::{Criu, Kind};
use wire::Writer;

/// What runc tells criu to read besides, unless an annotation names another file.
const CONFIG_FILE: &str = "/etc/criu/runc.conf";
/// How many lines of criu's log are repeated.
const MAX_LINES: usize = 20;
/// The first criu that can be asked for its version.
const OLDEST: i64 = 30_000;

/// The annotation `org.criu.config` (a file; empty for none at all), or else runc's default.
fn config_file(annotations: &BTreeMap<&str, &str>) -> String {
    (*annotations.get("org.criu.config").unwrap_or(&CONFIG_FILE)).to_owned()
}

/// Refuses a criu that is not there, or too old.
fn check_version(least: i64) -> Result<i64> {
    let mut request = Writer::default();
    request.number(1, Kind::Version as i64);
    let mut criu = Criu::start(Vec::new(), false)?;
    let answer = criu.ask(Kind::Version, request, &mut |_, _, _| Ok(()));
    // Nothing of it is left, whatever it said.
    let _ = criu.end();
    let version = answer.map_err(|e| Error::new(format!("CRIU version check failed: {e}")))?.version;
    if version < least {
        return Err(Error::new(format!("CRIU version {version} must be {least} or higher")));
    }
    Ok(version)
}

/// Refuses what this kernel and this criu cannot do together. Features go by their numbers in criu_features.
fn check_feature(field: u64, name: &str) -> Result<()> {
    let (mut features, mut request) = (Writer::default(), Writer::default());
    features.number(field, 1);
    request.number(1, Kind::FeatureCheck as i64).message(5, features);
    let mut criu = Criu::start(Vec::new(), false)?;
    let answer = criu.ask(Kind::FeatureCheck, request, &mut |_, _, _| Ok(()));
    let _ = criu.end();
    let answer = answer.map_err(|e| Error::new(format!("CRIU feature check failed: {e}")))?;
    match answer.features.contains(&(field, true)) {
        true => Ok(()),
        false => Err(Error::new(format!("criu is missing features: [{name}]"))),
    }
}

/// Repeats what criu wrote about a failure, and puts its first words about it behind the error, unless its answer said
/// why: the log has errors of probes that it got over, too.
fn explain(error: Error, log: &Path) -> Error {
    let Ok(text) = crate::spec::read_bounded(log) else { return error };
    let text = String::from_utf8_lossy(&text).into_owned();
    let lines: Vec<&str> = text.lines().filter(|line| line.contains("Error")).collect();
    for line in lines.iter().take(MAX_LINES) {
        log::warn(format!("{}: {line}", log.display()));
    }
    if error.to_string().contains("Error (") {
        return Error::new(format!("{error} (see {})", log.display()));
    }
    // What its helpers say of programs that failed comes before what they were for.
    let cause = lines.iter().find(|line| line.contains("Error (") && !line.contains("Error (criu/util.c"));
    match cause.or(lines.first()).and_then(|line| line.split_once("Error")) {
        Some((_, words)) => Error::new(format!("{error}: criu: Error{words} (see {})", log.display())),
        None => error,
    }
}

/// The images' and the log's directory, made if need be and opened.
fn open_directories(options: &mut Options, images: &Path, work: Option<&Path>) -> Result<()> {
    options.images = Some(directory(images)?);
    options.work = work.map(directory).transpose()?;
    Ok(())
}

fn directory(path: &Path) -> Result<std::os::fd::OwnedFd> {
    use crate::error::Context;
    use std::os::unix::fs::DirBuilderExt;
    let at = || format!("open {}", path.display());
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).with_context(at)?;
    std::fs::File::open(path).map(Into::into).with_context(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_annotation_decides_over_the_file() {
        assert_eq!(config_file(&BTreeMap::new()), CONFIG_FILE);
        assert_eq!(config_file(&BTreeMap::from([("org.criu.config", "/x")])), "/x");
        assert_eq!(config_file(&BTreeMap::from([("org.criu.config", "")])), "");
    }

    #[test]
    fn the_first_error_of_the_log_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("dump.log");
        std::fs::write(&log, "(00.1) fine\nError occurred at line: 5\n(00.1) Error (criu/util.c:6): exited\n(00.2) Error (a.c:1): no\n(00.3) Error (b.c:2): nor\n").unwrap();
        let text = explain(Error::new("criu failed"), &log).to_string();
        assert!(text.starts_with("criu failed: criu: Error (a.c:1): no (see "), "{text}");
        let text = explain(Error::new("criu failed: Error (b.c:2): nor"), &log).to_string();
        assert!(text.starts_with("criu failed: Error (b.c:2): nor (see "), "{text}");
        assert_eq!(explain(Error::new("x"), Path::new("/no/such")).to_string(), "x");
    }
}
