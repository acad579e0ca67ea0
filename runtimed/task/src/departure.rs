//! The deletion of a task that nobody is to see any more, while it is still under way.

use std::sync::Arc;

use errors::Result;
use tokio::sync::watch;

use crate::actor::Request;
use crate::table::{Handle, Key, Table};
use crate::types::Exit;

/// A task on its way out; made by [`Tasks::depart`](crate::Tasks::depart). Its id is not free yet: whoever creates a task under it waits.
pub struct Departure {
    pub(crate) table: Arc<Table>,
    pub(crate) key: Key,
    pub(crate) handle: Handle,
    /// Whoever waits for the id is told when this is dropped.
    pub(crate) leaving: watch::Sender<()>,
}

impl Departure {
    /// Deletes it, as [`Tasks::delete`](crate::Tasks::delete) does. One that cannot be deleted is there to be found again.
    pub async fn done(self) -> Result<Exit> {
        let deleted = self.handle.ask(&self.key.1, |reply| Request::Delete { reply }).await;
        if deleted.as_ref().is_err_and(|error| !error.is_not_found()) {
            self.stay();
        }
        deleted
    }

    /// It stays after all.
    pub fn stay(self) {
        let Departure { table, key, handle, leaving } = self;
        table.ready(&key, handle);
        drop(leaving);
    }
}
