//! Doors for tests: what an executor may print or log.

use crate::log::error_of;

/// Looks for the last error in an executor's log, and reads its answers.
pub fn answers(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let _ = text.lines().rev().find_map(error_of);
    let _ = serde_json::from_slice::<crate::State>(bytes);
    let _ = serde_json::from_slice::<Option<Vec<u32>>>(bytes);
}
