//! The store as rooms see it: against a model, under concurrency, killed, without power, on bad disks.

mod crash;
mod full;
mod model;
mod power;
mod store;
