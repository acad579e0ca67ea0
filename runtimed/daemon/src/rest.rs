//! Gives memory back that a start, or a busy hour, took.

use std::time::Duration;

/// When to look first: what the start took is not needed again.
const FIRST: Duration = Duration::from_secs(1);
/// How often to look.
const EVERY: Duration = Duration::from_secs(10);
/// Growth that is worth the work, in pages of the system.
const WORTH: u64 = 512;

/// Looks now and then, for as long as the daemon runs.
pub async fn keep_small() {
    let mut least = 0;
    let mut pause = FIRST;
    loop {
        tokio::time::sleep(pause).await;
        pause = EVERY;
        if resident() > least + WORTH {
            // Both take the time of a few page faults.
            sys::malloc::trim();
            if let Err(error) = sys::resident::let_go() {
                tracing::debug!(%error, "give memory back");
            }
            least = resident();
        }
    }
}

/// Resident pages (proc_pid_statm(5)); 0 if nobody tells.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or_default()
}
