//! A container's kept output.

use std::time::SystemTime;

use errors::Result;
use ids::{ContainerId, Namespace};
use logs::Options;

use crate::Flows;

/// What a reader of kept output wants.
#[derive(Debug, Clone, Default)]
pub struct LogQuery {
    /// Go on until the container ends.
    pub follow: bool,
    /// The last lines only.
    pub tail: Option<u64>,
    /// Not before.
    pub since: Option<SystemTime>,
    /// Not after.
    pub until: Option<SystemTime>,
}

impl Flows {
    /// Opens the kept output of a container. Following ends when the container does and everything was read.
    pub async fn logs(
        &self,
        namespace: &Namespace,
        id: &ContainerId,
        query: &LogQuery,
    ) -> Result<logs::Lines> {
        let line = self.line_of(namespace, id).await?;
        let follow = query.follow && line.is_running();
        let options = Options { follow, tail: query.tail, since: query.since, until: query.until };
        let ended = {
            let (flows, namespace, id) = (self.clone(), namespace.clone(), id.clone());
            async move {
                if follow {
                    // However the wait ends, there is nothing more to follow.
                    let _ = flows.wait_stopped(&namespace, &id).await;
                }
            }
        };
        logs::read(&self.log_path(namespace, id), options, ended).await
    }
}
