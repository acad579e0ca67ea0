//! Power lost in the middle of a write: the end of the log is missing or rubbish, and all before it is kept.

use std::fs;
use std::path::Path;

use crate::{Store, Table};

const RECORDS: Table<Vec<u8>> = Table::namespaced("records");
const COUNT: u64 = 60;

fn value(number: u64) -> Vec<u8> {
    vec![number as u8; (number as usize * 211) % 5000]
}

fn copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    fs::create_dir(to.path().join("blobs")).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::copy(&path, to.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    to
}

/// Where the written part of the log ends.
fn end(log: &Path) -> usize {
    let bytes = fs::read(log).unwrap();
    bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1
}

async fn put(store: &Store, number: u64) {
    let key = number.to_string();
    store.write(move |transaction| transaction.put(&RECORDS, &["ns", &key], &value(number))).await.unwrap();
}

#[tokio::test]
async fn a_torn_end_loses_only_what_was_not_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    for number in 0..COUNT {
        put(&store, number).await;
    }
    let acknowledged = end(&directory.path().join("db"));
    put(&store, COUNT).await;
    let torn = end(&directory.path().join("db"));
    assert!(torn > acknowledged);

    for rubbish in [None, Some(0), Some(0xff), Some(b'x')] {
        for cut in [1, 2, 16, 100, (torn - acknowledged) / 2, torn - acknowledged] {
            let copied = copy(directory.path());
            let log = copied.path().join("db");
            let mut bytes = fs::read(&log).unwrap();
            let place = torn - cut.min(torn - acknowledged)..torn;
            match rubbish {
                None => bytes.truncate(place.start),
                Some(byte) => bytes[place].fill(byte),
            }
            fs::write(&log, bytes).unwrap();

            let reopened = Store::open(copied.path()).unwrap();
            for number in 0..COUNT {
                let found = reopened.read().get(&RECORDS, &["ns", &number.to_string()]).unwrap();
                assert_eq!(found, Some(value(number)), "{rubbish:?}, {cut} bytes");
            }
            let last = reopened.read().get(&RECORDS, &["ns", &COUNT.to_string()]).unwrap();
            assert!(last.is_none() || last == Some(value(COUNT)), "{rubbish:?}, {cut} bytes");
            put(&reopened, COUNT + 1).await;
        }
    }
}
