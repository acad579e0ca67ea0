//! Which daemon, and in which namespace.

use std::path::PathBuf;

use client::Client;

use crate::failure::{Failure, Result};

/// Where a command speaks to.
#[derive(Debug, Clone)]
pub struct Context {
    /// The daemon's socket.
    pub address: PathBuf,
    /// The namespace.
    pub namespace: String,
    /// The trace that its requests belong to.
    pub trace: Option<String>,
}

impl Context {
    /// Connects; the error says which socket, and what to do.
    pub async fn client(&self) -> Result<Client> {
        let _step = marks::step("rctl.daemon.connect").map_err(|fault| Failure::Local(fault.to_string()))?;
        let client = Client::connect(&self.address, &self.namespace).await.map_err(|error| {
            Failure::Local(format!(
                "Cannot connect to the daemon at unix://{}. Is runtimed running? (--address or RUNTIMED_ADDRESS names another \
                 socket): {}",
                self.address.display(),
                error.chain()
            ))
        })?;
        match &self.trace {
            Some(id) => client.traced(id).map_err(|error| Failure::Local(error.chain())),
            None => Ok(client),
        }
    }

    /// The same daemon, asked without a trace.
    pub fn untraced(&self) -> Context {
        Context { address: self.address.clone(), namespace: self.namespace.clone(), trace: None }
    }
}
