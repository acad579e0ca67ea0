//! Logs, and what a build says of itself.

pub mod build;
mod level;
mod log;

pub use level::Level;
pub use log::init;
