//! What a collection needs of the rooms.

use errors::Result;
use tokio::sync::watch;

use crate::graph::Graph;

/// What a collection looks at and takes from. Implemented over the rooms in `flows`.
pub trait Heap: Send + Sync + 'static {
    /// Everything there is, that may be collected or keeps such things alive. Blocks.
    fn graph(&self) -> Result<Graph>;

    /// Looks once more, with everything held still, and removes what nothing reaches; returns how much it was. Goes on
    /// past a failure, and reports all of them.
    fn sweep(&self) -> impl Future<Output = Result<usize>> + Send;

    /// Did a sweep leave something behind, that another one may be able to remove? Then there is one soon, even if nothing new is garbage.
    fn has_leftovers(&self) -> bool;

    /// Counts changes of any sort, as they happen.
    fn changes(&self) -> watch::Receiver<u64>;
}
