//! Mark and sweep over whatever rooms hold.
//!
//! The rooms come in through [`Heap`], which lays out what there is as a [`Graph`]; what of it is out of use is a pure
//! question ([`Graph::unreachable`]). When to ask is [`Collector`]'s business.

mod collector;
mod graph;
mod heap;
mod schedule;
#[cfg(test)]
mod tests;

pub use collector::Collector;
pub use graph::{Graph, Hold, Node};
pub use heap::Heap;
pub use schedule::Schedule;
