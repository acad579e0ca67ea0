//! What people read: tables, times, sizes.

pub mod format;
pub mod progress;
pub mod table;
pub mod time;
