//! The store as rooms see it: against a model, under concurrency, and killed.

mod crash;
mod full;
mod model;
mod store;
