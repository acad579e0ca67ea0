//! Which daemon, and in which namespace.

use std::path::PathBuf;

use client::Client;

use crate::failure::{Failure, Result};

/// Where a command speaks to.
pub struct Context {
    /// The daemon's socket.
    pub address: PathBuf,
    /// The namespace.
    pub namespace: String,
}

impl Context {
    /// Connects; the error says which socket, and what to do.
    pub async fn client(&self) -> Result<Client> {
        Client::connect(&self.address, &self.namespace).await.map_err(|error| {
            Failure::Local(format!(
                "Cannot connect to the daemon at unix://{}. Is runtimed running? (--address or RUNTIMED_ADDRESS names another \
                 socket): {}",
                self.address.display(),
                error.chain()
            ))
        })
    }
}
