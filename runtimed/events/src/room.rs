//! How many bytes of events may wait for subscribers. Their number is bounded by the exchange; one event may have megabytes
//! of somebody's labels in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use errors::{Error, Kind, Result};

use crate::envelope::Envelope;

/// An event of no more bytes is always sent: only the number of those counts.
const SMALL: usize = 16 << 10;
/// The bytes that larger ones may have together while somebody has not taken them.
const LARGE: usize = 64 << 20;

/// Bytes of large events that wait. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Room(Arc<AtomicUsize>);

/// An event that waits, and the room that it takes.
pub(crate) struct Kept {
    pub(crate) envelope: Envelope,
    _taken: Option<Taken>,
}

/// Given back when the last subscriber has the event.
struct Taken {
    room: Room,
    size: usize,
}

impl Room {
    /// Takes room for an event; `ResourceExhausted` when it is large and there is none.
    pub(crate) fn keep(&self, envelope: Envelope) -> Result<Kept> {
        let size = envelope.event.value.len() + envelope.event.type_url.len() + envelope.topic.len();
        if size <= SMALL {
            return Ok(Kept { envelope, _taken: None });
        }
        let before = self.0.fetch_add(size, Ordering::Relaxed);
        let taken = Taken { room: self.clone(), size };
        if before.saturating_add(size) > LARGE {
            return Err(Error::new(
                Kind::ResourceExhausted,
                format!(
                    "an event of {size} bytes: a subscriber has not taken the {before} bytes of large ones before it, and there is room for {LARGE}"
                ),
            ));
        }
        Ok(Kept { envelope, _taken: Some(taken) })
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.room.0.fetch_sub(self.size, Ordering::Relaxed);
    }
}
