//! Leases: what is in use for a while, and so safe from garbage collection.

mod lease;
mod leases;
mod record;
mod resource;
#[cfg(test)]
mod tests;

pub use lease::{EXPIRE, FLAT, Lease, TRANSIENT};
pub use leases::Leases;
pub use resource::Resource;
