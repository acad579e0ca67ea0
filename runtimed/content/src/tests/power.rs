//! What a power cut may leave of a commit, and in which order a commit goes to disk.

use std::process::Command;

use super::*;

const CHILD: &str = "CONTENT_POWER_ROOT";

/// Not a test of its own: run by the one below, under strace.
#[tokio::test]
async fn child() {
    let Some(root) = std::env::var_os(CHILD) else { return };
    let store = metadata::Store::open(&PathBuf::from(&root).join("metadata")).unwrap();
    let content = Content::open(root.as_ref(), store, Bus::new()).unwrap();
    let mut writer = content.writer(&namespace("default"), "r", 4, None).await.unwrap();
    writer.write(0, "data".into()).await.unwrap();
    writer.commit(4, Some(&digest("data")), Labels::new()).await.unwrap();
}

#[test]
fn file_then_name_then_folder_then_record() {
    let root = tempfile::tempdir().unwrap();
    let traced = Command::new("strace")
        .args(["-f", "-y", "-qq", "-e", "trace=fsync,fdatasync,rename,renameat,renameat2"])
        .arg(std::env::current_exe().unwrap())
        .args(["tests::power::child", "--exact", "--test-threads=1"])
        .env(CHILD, root.path())
        .output()
        .unwrap();
    let trace = String::from_utf8_lossy(&traced.stderr);
    let hex = digest("data").hex().to_owned();
    let blobs = Layout::below(root.path()).blobs(ids::Algorithm::Sha256).display().to_string();
    let is_record = |line: &str| line.contains("fdatasync(") && line.contains("metadata/log>");
    let renamed = trace.lines().position(|line| line.contains("rename") && line.contains(&hex));
    let renamed = renamed.unwrap_or_else(|| panic!("no rename: {trace}"));
    let (before, after) = (trace.lines().take(renamed), trace.lines().skip(renamed));
    assert!(before.into_iter().any(|line| line.contains("fsync(") && line.contains("/data>")), "{trace}");
    let after: Vec<&str> = after.collect();
    let folder = after.iter().position(|line| line.contains("fsync(") && line.contains(&format!("{blobs}>")));
    let record = after.iter().position(|line| is_record(line));
    assert!(folder.is_some() && record.is_some() && folder < record, "{trace}");
}

/// What the file system may hold after a cut at each step: a part of the data, none of it, the name or not, the record or not.
#[tokio::test]
async fn no_cut_leaves_a_blob_that_is_none() {
    for left in [None, Some(""), Some("da"), Some("\0\0\0\0\0"), Some("data")] {
        for recorded in [false, true] {
            let fixture = Fixture::new();
            let ns = namespace("default");
            let path = fixture.path(&digest("data"));
            if recorded {
                fixture.write(&ns, "r", "data").await.unwrap();
                std::fs::remove_file(&path).unwrap();
            }
            if let Some(left) = left {
                std::fs::write(&path, left).unwrap();
            }
            let fixture = fixture.reopen();
            let found = fixture.content.open_blob(&ns, &digest("data"));
            if recorded && left == Some("data") {
                found.unwrap();
            } else {
                assert!(found.is_err(), "{left:?}, {recorded}");
                assert!(!path.exists(), "{left:?}, {recorded}");
                assert!(!fixture.content.is_whole(&ns, &digest("data")).unwrap());
                fixture.write(&ns, "again", "data").await.unwrap();
            }
            assert_eq!(fixture.content.read(&ns, &digest("data"), 9).await.unwrap(), "data");
            assert!(!fixture.content.layout().quarantined(&digest("data")).exists());
        }
    }
}

#[tokio::test]
async fn ingests_of_before_a_reboot_begin_anew() {
    let fixture = Fixture::new();
    let ns = namespace("default");
    let mut writer = fixture.content.writer(&ns, "half", 9, None).await.unwrap();
    writer.write(0, "half".into()).await.unwrap();
    drop(writer);
    let boot = fixture.content.layout().boot();
    std::fs::write(&boot, "another life\n").unwrap();
    let fixture = fixture.reopen();
    assert_eq!(fixture.ingest_folders(), 0);
    assert_ne!(std::fs::read_to_string(&boot).unwrap(), "another life\n");
}

#[tokio::test]
async fn records_are_made_anew_from_files() {
    let fixture = Fixture::new();
    let ns = namespace("default");
    for data in ["whole", "damaged", "missing"] {
        fixture.write(&ns, data, data).await.unwrap();
    }
    let path = fixture.path(&digest("damaged"));
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "DAMAGED").unwrap();
    std::fs::remove_file(fixture.path(&digest("missing"))).unwrap();
    std::fs::write(fixture.path(&digest("unknown")), "unknown").unwrap();
    let (root, store) = (fixture.root.path(), &fixture.content.store);
    let findings = crate::check(root, store, true).unwrap();
    assert_eq!(findings.len(), 2, "{findings:?}");
    let labels = labels(&[("a", "b")]);
    let rebuilt = crate::rebuild(root, store, &ns, &labels).await.unwrap();
    assert_eq!((rebuilt.kept, rebuilt.adopted), (1, 1));
    assert_eq!((rebuilt.damaged, rebuilt.missing), (vec![digest("damaged")], vec![digest("missing")]));
    assert_eq!(crate::check(root, store, true).unwrap(), Vec::<String>::new());
    assert_eq!(fixture.content.info(&ns, &digest("unknown")).unwrap().labels, labels);
}
