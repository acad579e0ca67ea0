//! What people read: tables, times, sizes.

pub mod progress;
pub mod table;
pub mod time;
