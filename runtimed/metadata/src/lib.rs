//! Transactions and typed tables; the only room that names the store.
//!
//! One writer thread owns the store. Callers hand it closures; it runs those that wait as one group, appends what they
//! changed to a log as one frame, all or nothing, and answers: those that asked for [`Durability::Lazy`] at once, the others
//! when the frame is on disk, which one sync brings about for all that wait. Readers see what was applied, all of one
//! instant, and hold up the writer only while a group is taken into memory.
//!
//! In memory are the keys and small values ([`map`]); larger values are read from the log ([`log`]). A key is the table's
//! sort, the table's name and the parts of the record's key ([`key`]); a value is MessagePack with named fields, so that
//! records may gain fields ([`value`]).

mod disk;
mod export;
mod key;
mod lock;
mod log;
mod map;
mod reader;
mod salvage;
mod scope;
mod store;
mod table;
#[cfg(test)]
mod tests;
mod transaction;
mod value;
mod view;
mod writer;

pub use reader::Reader;
pub use salvage::Salvage;
pub use scope::{carry, lazily};
pub use store::Store;
pub use table::Table;
pub use transaction::Transaction;
pub use writer::Durability;
