//! The API as a client sees it: a real server on a unix socket, over real rooms in a temporary folder.

// A test that cannot go on panics, wherever it stands.
#![allow(clippy::unwrap_used)]

mod containers;
mod content;
mod daemon;
mod diff;
mod events;
mod general;
mod images;
mod leases;
mod namespaces;
mod running;
mod snapshots;
mod tasks;
mod transfer;
