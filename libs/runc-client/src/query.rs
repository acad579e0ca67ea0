//! The verbs that answer with JSON.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::error::{Error, Result};
use crate::runc::Runc;

/// The answer of `state` (OCI runtime-spec, "State").
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// The version of the spec.
    pub oci_version: String,
    /// The container's id.
    pub id: String,
    /// creating, created, running, stopped; runc adds paused.
    pub status: String,
    /// The pid of init, 0 once it has ended.
    #[serde(default)]
    pub pid: i32,
    /// The absolute path of the bundle.
    pub bundle: String,
    /// The annotations of the spec.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Event {
    data: Box<RawValue>,
}

impl Runc {
    /// What the executor knows of a container.
    ///
    /// # Errors
    /// [`Kind::NotFound`](crate::Kind::NotFound) if there is no such container.
    pub async fn state(&self, id: &str) -> Result<State> {
        self.query(&["state", id]).await
    }

    /// The pids of all processes in the container, in the caller's pid namespace.
    ///
    /// # Errors
    /// Whatever the executor says.
    pub async fn ps(&self, id: &str) -> Result<Vec<u32>> {
        self.query::<Option<Vec<u32>>>(&["ps", "--format", "json", id]).await.map(Option::unwrap_or_default)
    }

    /// One reading of the container's metrics, as the JSON object `events --stats` gives under `data`.
    ///
    /// # Errors
    /// Whatever the executor says.
    pub async fn stats(&self, id: &str) -> Result<Box<RawValue>> {
        self.query::<Event>(&["events", "--stats", id]).await.map(|event| event.data)
    }

    /// What the executor can do: an OCI features document, as JSON.
    ///
    /// # Errors
    /// Fails with an executor that does not know the verb.
    pub async fn features(&self) -> Result<Box<RawValue>> {
        self.query(&["features"]).await
    }

    async fn query<T: DeserializeOwned>(&self, args: &[&str]) -> Result<T> {
        let answer = self.call(args, None).await?;
        serde_json::from_slice(&answer).map_err(|error| {
            let command = format!("{} {}", self.binary().display(), args.join(" "));
            Error::io(command, "its answer is not the JSON expected", error.into())
        })
    }
}
