//! Publish, subscribe, filter.
//!
//! Events are protobuf messages by contract (their type is part of the filter language), so this room
//! carries `prost_types::Any` and knows containerd's event messages.

mod bus;
mod envelope;
mod fields;
mod room;
mod subscription;
#[cfg(test)]
mod tests;
mod topic;

pub use bus::Bus;
pub use envelope::Envelope;
pub use subscription::Subscription;
