//! Kills executors: whoever works for a container while a command is under way.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use crate::worker::signal;

/// Executors live for some milliseconds.
const LOOK: Duration = Duration::from_micros(500);

/// Looks for executors of the container `id` and kills the first, until `over`; counts it.
pub fn hunt(id: &str, over: &AtomicBool, killed: &AtomicU32) {
    while !over.load(Ordering::SeqCst) {
        if let Some(pid) = executor_of(id) {
            killed.fetch_add(1, Ordering::SeqCst);
            // It may have ended this moment.
            let _ = signal("KILL", pid);
            return;
        }
        std::thread::sleep(LOOK);
    }
}

/// A process whose command line is that of an executor which works for `id`: runc-rs, or its init before it becomes the program.
fn executor_of(id: &str) -> Option<u64> {
    let entries = std::fs::read_dir("/proc").ok()?.flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut words = line.split(|byte| *byte == 0);
        let is_executor = words.next().is_some_and(|program| program.ends_with(b"runc-rs"));
        is_executor && words.any(|word| word == id.as_bytes())
    })
    .max()
}
