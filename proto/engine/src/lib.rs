//! runtimed's own high-level API, what `rctl` speaks. No logic: the contract is in `proto/`.

/// `runtimed.engine.v1`.
#[allow(missing_docs, clippy::all, rustdoc::all)]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/runtimed.engine.v1.rs"));
}
