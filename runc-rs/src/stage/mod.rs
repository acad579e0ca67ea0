//! The two stages of a start: the command (parent) and the new process (init, or an exec'd process), and what they say to
//! each other.

pub mod channel;
pub mod checks;
pub mod create;
pub mod exec;
pub mod fds;
pub mod filter;
mod filter_cache;
pub mod foreground;
pub mod idmap;
pub mod init;
pub mod joined;
pub mod listener;
pub mod net_devices;
pub mod network;
pub mod notify;
pub mod parent;
pub mod record;
pub mod rehearsal;
pub mod root_ready;
pub mod spawn;
pub mod streams;
pub mod trees;
