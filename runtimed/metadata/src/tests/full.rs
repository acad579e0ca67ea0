//! A full disk: writes fail and say so, nothing acknowledged is lost, and with room again the store goes on.

use std::path::Path;
use std::process::Command;

use errors::Kind;

use crate::{Store, Table};

const RECORDS: Table<Vec<u8>> = Table::namespaced("records");
const DIRECTORY: &str = "METADATA_FULL_DIRECTORY";

fn value(number: u64) -> Vec<u8> {
    vec![number as u8; 3000]
}

async fn put(store: &Store, number: u64) -> errors::Result<()> {
    let key = number.to_string();
    store.write(move |transaction| transaction.put(&RECORDS, &["ns", &key], &value(number))).await
}

fn remount(directory: &Path, size: &str) {
    let options = format!("remount,size={size}");
    let status = Command::new("mount").args(["-o", &options]).arg(directory).status().unwrap();
    assert!(status.success());
}

/// Not a test of its own: run by the one below, in a mount namespace with a small file system.
#[tokio::test]
async fn child() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let directory = Path::new(&directory);
    let store = Store::open(&directory.join("store")).unwrap();
    let mut count = 0;
    let error = loop {
        match put(&store, count).await {
            Ok(()) => count += 1,
            Err(error) => break error,
        }
    };
    assert!(count > 100, "{count}");
    assert_eq!(error.kind(), Kind::ResourceExhausted, "{error:?}");
    assert!(put(&store, count + 1).await.is_err());
    assert_eq!(store.read().keys(&RECORDS, &[]).unwrap().len() as u64, count);
    // Removing things goes on: it is how room is made.
    store.write(|transaction| transaction.delete(&RECORDS, &["ns", "0"])).await.unwrap();
    drop(store);
    let store = Store::open(&directory.join("store")).unwrap();
    assert_eq!(store.read().keys(&RECORDS, &[]).unwrap().len() as u64, count - 1);

    remount(directory, "64m");
    put(&store, 0).await.unwrap();
    drop(store);
    let store = Store::open(&directory.join("store")).unwrap();
    for number in 0..count {
        let found = store.read().get(&RECORDS, &["ns", &number.to_string()]).unwrap();
        assert_eq!(found, Some(value(number)), "{number} of {count}");
    }
    put(&store, count).await.unwrap();
}

#[test]
fn nothing_acknowledged_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=4m tmpfs \"$0\" && exec \"$@\"";
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", script])
        .arg(directory.path())
        .arg(std::env::current_exe().unwrap())
        .args(["tests::full::child", "--exact", "--nocapture", "--test-threads=1"])
        .env(DIRECTORY, directory.path())
        .output()
        .unwrap();
    let told =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && told.contains("1 passed"), "{told}");
}
