//! Killed at any instant, the store opens again with every acknowledged record, and no half transaction.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use rand::Rng;

use crate::{Durability, Store, Table};

const LEFT: Table<Vec<u8>> = Table::namespaced("left");
const RIGHT: Table<u64> = Table::new("right");
const DIRECTORY: &str = "METADATA_CRASH_DIRECTORY";
const ROUNDS: usize = 12;
const KEYS: u64 = 400;

/// What the child writes under its `number`th key: of all sizes, some in pieces.
fn value(number: u64) -> Vec<u8> {
    vec![number as u8; (number as usize * 37) % 9000]
}

/// Not a test of its own: run by the one below, in a process that is killed.
#[test]
fn child() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let store = Store::open(directory.as_ref()).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let before = store.read().scan(&RIGHT, &[]).unwrap();
    let start = before.into_iter().map(|(_, number)| number + 1).max().unwrap_or(0);
    runtime.block_on(async {
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let store = store.clone();
                tokio::spawn(async move {
                    for number in (start + writer..).step_by(4) {
                        let key = (number % KEYS).to_string();
                        let name = key.clone();
                        // A kill loses neither sort.
                        let durability = if number % 3 == 0 { Durability::Flushed } else { Durability::Lazy };
                        store
                            .write_as(durability, move |transaction| {
                                transaction.put(&LEFT, &["ns", &name], &value(number))?;
                                transaction.put(&RIGHT, &[&name], &number)
                            })
                            .await
                            .unwrap();
                        // One write call a line: lines of several threads do not mix.
                        std::io::stdout().write_all(format!("\nok {number}\n").as_bytes()).unwrap();
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.await.unwrap();
        }
    });
}

#[test]
fn acknowledged_is_durable() {
    let directory = tempfile::tempdir().unwrap();
    // The last acknowledged number of each key.
    let mut acknowledged = std::collections::BTreeMap::<String, u64>::new();
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["tests::crash::child", "--exact", "--nocapture", "--test-threads=1"])
            .env(DIRECTORY, directory.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut left = rand::rng().random_range(1..600);
        for line in lines {
            let line = line.unwrap();
            let Some(number) = line.strip_prefix("ok ").and_then(|number| number.parse::<u64>().ok()) else {
                continue;
            };
            let last = acknowledged.entry((number % KEYS).to_string()).or_default();
            *last = number.max(*last);
            left -= 1;
            if left == 0 {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(left <= 0, "round {round}: the child ended by itself");

        let store = Store::open(directory.path()).unwrap();
        let reader = store.read();
        for (key, number) in &acknowledged {
            let found = reader.get(&RIGHT, &[key]).unwrap().unwrap_or_default();
            assert!(found >= *number, "round {round}: {key} is {found}, acknowledged {number}");
        }
        for (key, number) in reader.scan(&RIGHT, &[]).unwrap() {
            assert_eq!(reader.get(&LEFT, &["ns", &key[0]]).unwrap(), Some(value(number)), "round {round}");
        }
        assert_eq!(reader.keys(&LEFT, &[]).unwrap().len(), reader.keys(&RIGHT, &[]).unwrap().len());
    }
}
