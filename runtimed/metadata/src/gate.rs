//! Holding up all other writers while one task looks and then acts on what it saw.

use std::future::Future;

use tokio::sync::{RwLock, RwLockReadGuard};

tokio::task_local! {
    /// The gate that the running task holds.
    static HOLDER: usize;
}

/// Writers pass it together; a task that holds it passes alone.
#[derive(Default)]
pub(crate) struct Gate {
    lock: RwLock<()>,
}

impl Gate {
    /// Waits while another task holds the gate.
    pub(crate) async fn pass(&self) -> Option<RwLockReadGuard<'_, ()>> {
        if HOLDER.try_with(|holder| *holder == self.id()).unwrap_or(false) {
            return None;
        }
        Some(self.lock.read().await)
    }

    /// Runs `work` with the gate held, after `settle` has let those through who had passed it before.
    pub(crate) async fn hold<T>(&self, settle: impl Future<Output = ()>, work: impl Future<Output = T>) -> T {
        let _alone = self.lock.write().await;
        HOLDER
            .scope(self.id(), async {
                settle.await;
                work.await
            })
            .await
    }

    fn id(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }
}
