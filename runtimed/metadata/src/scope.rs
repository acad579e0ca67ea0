//! How durable the writes of a whole sequence are, said once by whoever knows what they are for.

use crate::Durability;

tokio::task_local! {
    static LAZY: ();
}

/// Runs `sequence` with every [`Store::write`](crate::Store::write) in it lazy: for what a power cut takes away anyway, or what
/// one [`Store::flush`](crate::Store::flush) at the end is to bring to disk together. What the sequence spawns is not part of it,
/// unless it is [carried](carry) along.
pub async fn lazily<T>(sequence: impl Future<Output = T>) -> T {
    LAZY.scope((), sequence).await
}

/// Makes work that is about to be spawned part of the sequence that spawns it, if that is a lazy one.
pub fn carry<F: Future>(work: F) -> impl Future<Output = F::Output> {
    let lazy = durability() == Durability::Lazy;
    async move { if lazy { lazily(work).await } else { work.await } }
}

/// What a write here and now is to be.
pub(crate) fn durability() -> Durability {
    if LAZY.try_with(|()| ()).is_ok() { Durability::Lazy } else { Durability::Flushed }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_spawned_is_lazy_where_it_is_carried() {
        let here = async || durability();
        let spawned = async |carried: bool| match carried {
            true => tokio::spawn(carry(here())).await.unwrap(),
            false => tokio::spawn(here()).await.unwrap(),
        };
        assert_eq!(spawned(true).await, Durability::Flushed);
        assert_eq!(lazily(spawned(true)).await, Durability::Lazy);
        assert_eq!(lazily(spawned(false)).await, Durability::Flushed);
    }
}
