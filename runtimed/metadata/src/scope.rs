//! How durable the writes of a whole sequence are, said once by whoever knows what they are for.

use crate::Durability;

tokio::task_local! {
    static LAZY: ();
}

/// Runs `sequence` with every [`Store::write`](crate::Store::write) in it lazy: for what a power cut takes away anyway, or what
/// one [`Store::flush`](crate::Store::flush) at the end is to bring to disk together. What the sequence spawns is not part of it.
pub async fn lazily<T>(sequence: impl Future<Output = T>) -> T {
    LAZY.scope((), sequence).await
}

/// What a write here and now is to be.
pub(crate) fn durability() -> Durability {
    if LAZY.try_with(|()| ()).is_ok() { Durability::Lazy } else { Durability::Flushed }
}
