//! Transactions and typed tables; the only room that names the store.
//!
//! One writer thread owns the store. Callers hand it closures; it runs those that wait as one group, writes what
//! they changed as one atomic batch, flushes once, and answers each: an answer means durable. Readers see committed
//! state, all of one instant, and hold up the writer only while a batch is taken into memory.
//!
//! On disk there is one ordered map (sled). A key is the table's sort, the table's name and the parts of the
//! record's key ([`key`]); a value is MessagePack with named fields, so that records may gain fields ([`value`]).

mod disk;
mod export;
mod key;
mod lock;
mod reader;
mod store;
mod table;
#[cfg(test)]
mod tests;
mod transaction;
mod value;
mod view;
mod writer;

pub use reader::Reader;
pub use store::Store;
pub use table::Table;
pub use transaction::Transaction;
