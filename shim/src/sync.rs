//! Locks in a process that aborts on panic: a poisoned lock cannot be seen.

use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Takes the lock.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Drives `work`, and does `meanwhile` once that is under way, whose part of it is another process's.
pub(crate) async fn beside<T, U>(work: impl Future<Output = T>, meanwhile: impl FnOnce() -> U) -> (T, U) {
    let mut work = std::pin::pin!(work);
    let (mut meanwhile, mut done) = (Some(meanwhile), None);
    let answer = std::future::poll_fn(|context| {
        let answer = work.as_mut().poll(context);
        if let Some(meanwhile) = meanwhile.take() {
            done = Some(meanwhile());
        }
        answer
    })
    .await;
    match done {
        Some(done) => (answer, done),
        None => unreachable!("the first look at the work is followed by the other"),
    }
}
