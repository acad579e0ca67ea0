//! Groups, failures, isolation, opening.

use std::collections::BTreeMap;

use errors::{Error, Kind};
use serde::{Deserialize, Serialize};

use crate::{Store, Table};

const COUNTERS: Table<u64> = Table::new("counters");
const PAIRS: Table<u64> = Table::namespaced("pairs");

fn open() -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    (directory, store)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn transactions_are_serial_and_readers_see_whole_ones() {
    let (_directory, store) = open();
    let writers: Vec<_> = (0..64)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                store
                    .write(|transaction| {
                        let count = transaction.get(&COUNTERS, &["n"])?.unwrap_or(0) + 1;
                        transaction.put(&COUNTERS, &["n"], &count)?;
                        transaction.delete_all(&PAIRS, &[])?;
                        transaction.put(&PAIRS, &["a", &count.to_string()], &count)?;
                        transaction.put(&PAIRS, &["b", &count.to_string()], &count)
                    })
                    .await
            })
        })
        .collect();
    let reading = tokio::task::spawn_blocking({
        let store = store.clone();
        move || {
            while store.read().get(&COUNTERS, &["n"]).unwrap() != Some(64) {
                let reader = store.read();
                let values: Vec<u64> =
                    reader.scan(&PAIRS, &[]).unwrap().into_iter().map(|(_, value)| value).collect();
                let count = reader.get(&COUNTERS, &["n"]).unwrap();
                assert_eq!(values, count.map_or(vec![], |count| vec![count, count]));
                // A reader within a reader must not wait for the writer.
                assert_eq!(store.read().get(&COUNTERS, &["n"]).unwrap(), count);
            }
        }
    });
    for writer in writers {
        writer.await.unwrap().unwrap();
    }
    reading.await.unwrap();
    assert_eq!(store.read().holders("a").unwrap(), ["pairs"]);
}

#[tokio::test]
async fn a_failed_or_panicked_transaction_leaves_no_trace() {
    let (_directory, store) = open();
    let failed = store.write(|transaction| {
        transaction.put(&COUNTERS, &["n"], &1)?;
        Err::<(), _>(Error::not_found("n"))
    });
    let panicked = store.write(|transaction| -> errors::Result<()> {
        transaction.put(&COUNTERS, &["n"], &2)?;
        panic!("on purpose");
    });
    let seen = store.write(|transaction| transaction.get(&COUNTERS, &["n"]));
    let (failed, panicked, seen) = tokio::join!(failed, panicked, seen);
    assert_eq!(failed.unwrap_err().kind(), Kind::NotFound);
    assert_eq!(panicked.unwrap_err().kind(), Kind::Internal);
    assert_eq!(seen.unwrap(), None);
    assert_eq!(store.read().get(&COUNTERS, &["n"]).unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn alone_a_transaction_sees_what_readers_see() {
    let (_directory, store) = open();
    let mut written = store.written();
    let writers: Vec<_> = (0..8)
        .map(|writer: usize| {
            let store = store.clone();
            tokio::spawn(async move {
                for count in 0..20 {
                    let key = format!("{writer}/{count}");
                    store.write(move |transaction| transaction.put(&COUNTERS, &[&key], &1)).await.unwrap();
                }
            })
        })
        .collect();
    loop {
        let reads = store.clone();
        let count = store
            .write_alone(move |transaction| {
                let seen = transaction.scan(&COUNTERS, &[])?.len();
                assert_eq!(reads.read().keys(&COUNTERS, &[])?.len(), seen);
                Ok(seen)
            })
            .await
            .unwrap();
        if count == 160 {
            break;
        }
    }
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(*written.wait_for(|count| *count >= 160).await.unwrap(), 160);
}

#[tokio::test]
async fn writing_the_same_again_costs_no_write() {
    let (_directory, store) = open();
    let written = store.written();
    for _ in 0..3 {
        store.write(|transaction| transaction.put(&COUNTERS, &["n"], &1)).await.unwrap();
    }
    assert_eq!(*written.borrow(), 1);
    store.write(|transaction| transaction.put(&COUNTERS, &["n"], &2)).await.unwrap();
    assert_eq!(*written.borrow(), 2);
}

#[test]
fn a_second_opener_is_told_so() {
    let (directory, store) = open();
    let error = Store::open(directory.path()).err().unwrap();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(error.chain().contains(directory.path().to_str().unwrap()), "{error:?}");
    drop(store);
    assert!(Store::open(directory.path()).is_ok());
}

#[test]
fn damage_is_reported_and_nothing_deleted() {
    let (directory, store) = open();
    drop(store);
    let snapshot = directory.path().join("snap.7FFFFFFFFFFFFFFF");
    std::fs::write(&snapshot, "nonsense").unwrap();
    let error = Store::open(directory.path()).err().unwrap();
    assert_eq!(error.kind(), Kind::DataLoss);
    assert!(error.chain().contains(directory.path().to_str().unwrap()), "{error:?}");
    assert_eq!(std::fs::read_to_string(&snapshot).unwrap(), "nonsense");
    assert!(directory.path().join("db").exists());
}

#[test]
fn a_half_written_snapshot_does_not_stop_the_store() {
    let (directory, store) = open();
    drop(store);
    std::fs::write(directory.path().join("snap.FFFFFFFFFFFFFFFF.generating"), "torn").unwrap();
    assert!(Store::open(directory.path()).is_ok());
}

#[test]
fn a_foreign_database_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let foreign = sled::open(directory.path()).unwrap();
    foreign.insert("a", "b").unwrap();
    foreign.flush().unwrap();
    drop(foreign);
    let error = Store::open(directory.path()).err().unwrap();
    assert_eq!(error.kind(), Kind::DataLoss);
}

#[tokio::test]
async fn records_gain_and_lose_fields() {
    #[derive(Serialize)]
    struct Old {
        name: String,
        gone: u32,
    }
    #[derive(Deserialize, Debug, PartialEq)]
    struct New {
        name: String,
        #[serde(default)]
        more: Vec<String>,
    }
    let (_directory, store) = open();
    let old: Table<Old> = Table::new("t");
    store
        .write(move |transaction| transaction.put(&old, &["k"], &Old { name: "x".to_owned(), gone: 1 }))
        .await
        .unwrap();
    let new: Table<New> = Table::new("t");
    let read = store.read().get(&new, &["k"]).unwrap();
    assert_eq!(read, Some(New { name: "x".to_owned(), more: vec![] }));
    let wrong: Table<u64> = Table::new("t");
    let error = store.read().get(&wrong, &["k"]).unwrap_err();
    assert_eq!(error.kind(), Kind::DataLoss);
    assert!(error.chain().contains('t') && error.chain().contains('k'), "{error:?}");
}

#[tokio::test]
async fn exports_keep_byte_strings_and_odd_maps() {
    #[derive(Serialize, Deserialize, Debug, PartialEq, Clone)]
    struct Odd {
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
        map: BTreeMap<String, String>,
        nothing: Option<u32>,
        number: i64,
    }
    let odd = |name: &str| Odd {
        bytes: vec![0, 255, 10],
        map: BTreeMap::from([(name.to_owned(), "AAAA".to_owned())]),
        nothing: None,
        number: -1,
    };
    const ODD: Table<Odd> = Table::namespaced("odd");
    let (_directory, store) = open();
    for name in ["$bytes", "$map", "plain"] {
        let record = odd(name);
        store.write(move |transaction| transaction.put(&ODD, &["ns", name], &record)).await.unwrap();
    }
    let mut lines = Vec::new();
    store.export(&mut lines).unwrap();
    let (_other, copy) = open();
    assert_eq!(copy.import(lines.as_slice()).await.unwrap(), 3);
    for name in ["$bytes", "$map", "plain"] {
        assert_eq!(copy.read().get(&ODD, &["ns", name]).unwrap(), Some(odd(name)));
    }
    let error = copy.import(&b"{\"table\":1}\n"[..]).await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (Kind::InvalidArgument, "line 1 of the export"));
}
