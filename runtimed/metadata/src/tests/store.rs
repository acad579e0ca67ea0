//! Groups, failures, isolation, opening.

use std::collections::BTreeMap;

use errors::{Error, Kind};
use serde::{Deserialize, Serialize};

use crate::{Durability, Salvage, Store, Table};

const COUNTERS: Table<u64> = Table::new("counters");
const TEXTS: Table<String> = Table::new("texts");
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

#[tokio::test]
async fn lazy_writes_are_seen_and_outlive_the_handle() {
    let (directory, store) = open();
    for number in 0..10u64 {
        store
            .write_as(Durability::Lazy, move |transaction| transaction.put(&COUNTERS, &["n"], &number))
            .await
            .unwrap();
        assert_eq!(store.read().get(&COUNTERS, &["n"]).unwrap(), Some(number));
    }
    store.flush().await.unwrap();
    drop(store);
    let store = Store::open(directory.path()).unwrap();
    assert_eq!(store.read().get(&COUNTERS, &["n"]).unwrap(), Some(9));
}

#[tokio::test]
async fn an_old_log_gives_way_to_a_short_one() {
    let (directory, store) = open();
    let log = directory.path().join("log");
    for number in 0..400u64 {
        let text = format!("{number:>32000}");
        store
            .write_as(Durability::Lazy, move |transaction| transaction.put(&TEXTS, &["n"], &text))
            .await
            .unwrap();
    }
    let number = 400u64;
    store.write(move |transaction| transaction.put(&COUNTERS, &["n"], &number)).await.unwrap();
    assert!(std::fs::metadata(&log).unwrap().len() < 8 << 20);
    drop(store);
    let store = Store::open(directory.path()).unwrap();
    assert_eq!(store.read().get(&TEXTS, &["n"]).unwrap(), Some(format!("{:>32000}", 399)));
    assert_eq!(store.read().get(&COUNTERS, &["n"]).unwrap(), Some(400));
}

#[test]
fn what_is_no_store_is_refused_and_kept() {
    for (names, words) in
        [(&["db", "conf"][..], "early version"), (&["notes"][..], "notes"), (&["log"][..], "head is damaged")]
    {
        let directory = tempfile::tempdir().unwrap();
        for name in names {
            std::fs::write(directory.path().join(name), "text").unwrap();
        }
        let error = Store::open(directory.path()).err().unwrap();
        assert!(matches!(error.kind(), Kind::DataLoss | Kind::FailedPrecondition), "{error:?}");
        assert!(error.chain().contains(words), "{error:?}");
        assert!(error.chain().contains(directory.path().to_str().unwrap()), "{error:?}");
        for name in names {
            assert_eq!(std::fs::read_to_string(directory.path().join(name)).unwrap(), "text");
        }
    }
}

#[tokio::test]
async fn a_copy_has_what_the_store_has_and_guards_its_place() {
    let root = tempfile::tempdir().unwrap();
    let (directory, copy) = (root.path().join("metadata"), root.path().join("metadata.copy"));
    let export = |salvage: errors::Result<Salvage>| {
        let mut out = Vec::new();
        salvage.unwrap().export(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    let store = Store::open_with_copy(&directory, &copy).unwrap();
    for number in 0..400u64 {
        let text = format!("{number:>32000}");
        store
            .write_as(Durability::Lazy, move |transaction| transaction.put(&TEXTS, &["n"], &text))
            .await
            .unwrap();
    }
    drop(store);
    let store = Store::open_with_copy(&directory, &copy).unwrap();
    store.write(|transaction| transaction.put(&COUNTERS, &["n"], &7)).await.unwrap();
    let mut all = Vec::new();
    store.export(&mut all).unwrap();
    drop(store);
    std::fs::rename(&directory, root.path().join("away")).unwrap();
    assert_eq!(export(Salvage::open(&directory, &copy)).as_bytes(), all);
    let error = Store::open_with_copy(&directory, &copy).err().unwrap();
    assert_eq!(error.kind(), Kind::DataLoss);
    assert!(error.chain().contains("metadata.copy"), "{error:?}");
}

#[test]
fn an_unfinished_log_does_not_stop_the_store() {
    let (directory, store) = open();
    drop(store);
    std::fs::write(directory.path().join("log.new"), "torn").unwrap();
    assert!(Store::open(directory.path()).is_ok());
    assert!(!directory.path().join("log.new").exists());
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
