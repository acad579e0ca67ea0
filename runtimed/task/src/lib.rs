//! Tasks: one actor owns each; the shim is on its other side.
//!
//! [`Tasks`] maps an id to its actor and does nothing else with it: every request goes through the actor's
//! bounded queue. The actor never waits for a shim itself; it starts each call as a job of its own, so a kill
//! passes a start that hangs. What may happen in which state is the pure table in `state`. Generated types
//! stay in `shim_conn`, `shim_start` and `shim_delete`.
//!
//! What must survive the daemon is in the bundle folder (`bundle`): how to reach the shim, which binary it
//! is, and the exit that was reported. Nothing else is kept.

mod actor;
mod bundle;
mod call;
mod cgroup;
mod create;
mod departure;
pub mod doors;
mod files;
mod ledger;
mod manager;
mod process;
mod restore;
mod shim_conn;
mod shim_delete;
mod shim_end;
mod shim_info;
mod shim_log;
mod shim_lookup;
mod shim_serve;
mod shim_socket;
mod shim_spare;
mod shim_start;
mod state;
mod table;
mod types;

pub use departure::Departure;
pub use files::raise_files;
pub use manager::Tasks;
pub use types::{Checkpoint, Config, Create, Exec, Exit, Io, Mount, Process, Ran, Status, Timeouts};
