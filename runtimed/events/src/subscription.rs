//! One subscriber's end.

use std::sync::Arc;

use errors::{Error, Kind, Result};
use filters::Filters;
use tokio::sync::broadcast::{Receiver, error::RecvError};

use crate::envelope::Envelope;
use crate::room::Kept;

/// A stream of events; dropping it unsubscribes.
pub struct Subscription {
    receiver: Option<Receiver<Arc<Kept>>>,
    filters: Filters,
}

impl Subscription {
    pub(crate) fn new(receiver: Receiver<Arc<Kept>>, filters: Filters) -> Subscription {
        Subscription { receiver: Some(receiver), filters }
    }

    /// The next event; `None` when the daemon goes down; an error of kind `ResourceExhausted` when the
    /// subscriber was too slow and events were lost (the subscription is over then). Loses nothing when it is
    /// cancelled.
    pub async fn next(&mut self) -> Result<Option<Envelope>> {
        loop {
            let Some(receiver) = &mut self.receiver else { return Ok(None) };
            match receiver.recv().await {
                Ok(kept) if self.filters.matches(&kept.envelope) => {
                    return Ok(Some(match Arc::try_unwrap(kept) {
                        Ok(kept) => kept.envelope,
                        Err(kept) => kept.envelope.clone(),
                    }));
                }
                Ok(_) => {}
                Err(RecvError::Closed) => self.receiver = None,
                Err(RecvError::Lagged(lost)) => {
                    self.receiver = None;
                    return Err(Error::new(
                        Kind::ResourceExhausted,
                        format!("subscriber was too slow: {lost} events were lost"),
                    ));
                }
            }
        }
    }
}
