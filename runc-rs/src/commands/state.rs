//! `state`: a container's state as runtime-spec, runtime.md "Query State" has it.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::cli::{Arity, Global, Matches, Verb};
use crate::error::{Error, Result};
use crate::state::{Container, Status};

/// The verb.
pub const VERB: Verb = Verb {
    name: "state",
    args: "<container-id>",
    about: "output the state of a container",
    flags: &[],
    arity: Arity::Exact(1),
    flags_stop: false,
    run,
};

/// One container, as `state` and `list --format json` print it.
#[derive(Debug, Serialize)]
pub struct Report<'a> {
    /// ociVersion of its config.json.
    #[serde(rename = "ociVersion")]
    pub version: &'a str,
    /// Its id.
    pub id: &'a str,
    /// Process id of init, 0 when stopped.
    pub pid: i32,
    /// created, running, paused or stopped.
    pub status: Status,
    /// The bundle's directory.
    pub bundle: &'a str,
    /// The root file system's directory.
    pub rootfs: String,
    /// RFC 3339.
    pub created: &'a str,
    /// Annotations of config.json.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<&'a str, &'a str>,
    /// Who made it; `list` alone fills it.
    pub owner: String,
}

impl<'a> Report<'a> {
    /// What is to be said of `container`.
    pub fn new(container: &'a Container, owner: String) -> Result<Self> {
        let status = container.status()?;
        let state = &container.state;
        Ok(Report {
            version: &state.config.version,
            id: &state.id,
            pid: if status == Status::Stopped { 0 } else { state.init_process_pid },
            status,
            bundle: container.bundle(),
            rootfs: state.config.rootfs.display().to_string(),
            created: &state.created,
            annotations: container.annotations(),
            owner,
        })
    }
}

fn run(global: &Global, matches: &Matches) -> Result<i32> {
    let container = Container::load(&global.root, matches.id()?)?;
    let report = Report::new(&container, String::new())?;
    let text = serde_json::to_string_pretty(&report).map_err(|e| Error::new(e.to_string()))?;
    crate::out::line(&text)?;
    Ok(0)
}
