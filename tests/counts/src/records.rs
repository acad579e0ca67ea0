//! The store.

use anyhow::Result;
use metadata::{Store, Table};

static TABLE: Table<Vec<String>> = Table::new("counts");

/// A small record, each in a transaction that is on disk before the next begins.
pub fn commit(times: u32) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let store = Store::open(folder.path())?;
    runtime.block_on(async {
        for number in 0..times {
            let key = format!("c{number}");
            store
                .write(move |transaction| {
                    let value = vec!["a label".to_owned(), key.clone()];
                    transaction.put(&TABLE, &[&key], &value)
                })
                .await?;
        }
        Ok(())
    })
}
