//! How many flows are under way.

use tokio::sync::watch;

/// Counts what is under way.
#[derive(Default)]
pub struct Busy {
    count: watch::Sender<usize>,
}

/// One thing that is under way until this is dropped.
pub struct Underway {
    count: watch::Sender<usize>,
}

impl Busy {
    /// Something begins.
    pub fn enter(&self) -> Underway {
        self.count.send_modify(|count| *count += 1);
        Underway { count: self.count.clone() }
    }

    /// Waits until nothing is under way.
    pub async fn settled(&self) {
        // The sender is here, so the wait cannot fail.
        let _ = self.count.subscribe().wait_for(|count| *count == 0).await;
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        self.count.send_modify(|count| *count -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn settles_when_the_last_one_has_ended() {
        let busy = Busy::default();
        busy.settled().await;
        let (first, second) = (busy.enter(), busy.enter());
        drop(first);
        assert!(tokio::time::timeout(std::time::Duration::ZERO, busy.settled()).await.is_err());
        drop(second);
        busy.settled().await;
    }
}
