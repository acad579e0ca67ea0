//! In which order a commit goes to disk, and records made anew from folders.

use std::process::Command;

use super::*;

const CHILD: &str = "SNAPSHOT_POWER_ROOT";
const NAME: &str = "SNAPSHOT_POWER_NAME";

/// Not a test of its own: run by those below, under strace.
#[tokio::test]
async fn child() {
    let (Some(root), Ok(name)) = (std::env::var_os(CHILD), std::env::var(NAME)) else { return };
    let store = metadata::Store::open(&Path::new(&root).join("metadata")).unwrap();
    let all = Snapshotters::open(Path::new(&root), store, Bus::new()).unwrap();
    let (snapshotter, ns) = (all.get(&name).unwrap(), Namespace::parse("default").unwrap());
    snapshotter.prepare(&ns, "key", "", Labels::new()).await.unwrap();
    std::fs::write(snapshotter.tree(&ns, "key").unwrap().join("file"), "data").unwrap();
    println!("before the commit");
    snapshotter.commit(&ns, "name", "key", Labels::new()).await.unwrap();
    println!("before the child");
    snapshotter.prepare(&ns, "on it", "name", Labels::new()).await.unwrap();
}

/// The calls of such a child that bring something to disk, or name it. The store's word that all before is synced, a frame without a body, is
/// left out: it comes when it comes.
fn calls(name: &str) -> String {
    let root = tempfile::tempdir().unwrap();
    let traced = Command::new("strace")
        .args(["-f", "-y", "-qq", "-e", "trace=syncfs,fdatasync,pwrite64,write,rename,renameat,renameat2"])
        .arg(std::env::current_exe().unwrap())
        .args(["tests::power::child", "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, root.path())
        .env(NAME, name)
        .output()
        .unwrap();
    let trace = String::from_utf8_lossy(&traced.stderr);
    let is_mark = |line: &&str| line.contains("pwrite64(") && line.contains("..., 56, ");
    trace.lines().filter(|line| !is_mark(line)).map(|line| format!("{line}\n")).collect()
}

#[test]
fn files_go_to_disk_before_the_record_that_says_so() {
    for (name, tree) in [("overlayfs", "/snapshots/1/fs>"), ("native", "/snapshots/1>")] {
        let trace = calls(name);
        let commit: Vec<&str> =
            trace.lines().skip_while(|line| !line.contains("before the commit")).collect();
        let at = |call: &str, place: &str| {
            commit.iter().position(|line| line.contains(call) && line.contains(place))
        };
        let files = at("syncfs(", tree);
        let record = at("pwrite64(", "/metadata/log>");
        assert!(files.is_some() && record.is_some() && files < record, "{name}: {trace}");
        assert!(at("fdatasync(", "/metadata/log>") > record, "{name}: {trace}");
    }
}

#[test]
fn a_copy_is_on_disk_before_it_has_its_name() {
    let trace = calls("native");
    let made: Vec<&str> = trace.lines().skip_while(|line| !line.contains("before the child")).collect();
    let at =
        |call: &str, place: &str| made.iter().position(|line| line.contains(call) && line.contains(place));
    let (copied, named) = (at("syncfs(", "/snapshots/new-2>"), at("rename", "/snapshots/new-2"));
    assert!(copied.is_some() && named.is_some() && copied < named, "{trace}");
    assert!(at("pwrite64(", "/metadata/log>") > named, "{trace}");
}

#[tokio::test]
async fn a_cut_unpack_is_not_found_as_committed() {
    for name in ["overlayfs", "native"] {
        let f = Fixture::new(name);
        let mounts = f.prepare("extract", "").await.unwrap();
        let mounted = f.mounted(&mounts);
        std::fs::write(mounted.path().join("half"), "").unwrap();
        mounted.close().unwrap();
        let f = f.reopen();
        assert_eq!(kind(f.snapshotter.stat(&f.ns, "layer")), ErrorKind::NotFound);
        assert_eq!(f.snapshotter.stat(&f.ns, "extract").unwrap().kind, crate::Kind::Active);
        assert_eq!(kind(f.prepare("on it", "extract").await), ErrorKind::InvalidArgument);
        // Whoever tries again starts from nothing.
        f.remove("extract").await.unwrap();
        f.layer("layer", "", |root| std::fs::write(root.join("whole"), "").unwrap()).await;
        assert_eq!(f.seen("layer").await, ["whole"]);
    }
}

#[tokio::test]
async fn records_that_lost_their_folder_go_with_all_that_stands_on_them() {
    for name in ["overlayfs", "native"] {
        let f = Fixture::new(name);
        f.layer("one", "", |_| {}).await;
        f.layer("two", "one", |_| {}).await;
        f.prepare("on two", "two").await.unwrap();
        f.layer("other", "", |root| std::fs::write(root.join("a"), "").unwrap()).await;
        let store = f.store();
        assert_eq!(crate::check(f.root.path(), &store).unwrap(), Vec::<String>::new());
        std::fs::remove_dir_all(f.folder().join("1")).unwrap();
        std::fs::create_dir(f.folder().join("77")).unwrap();
        let findings = crate::check(f.root.path(), &store).unwrap();
        assert_eq!(findings.len(), 3, "{findings:?}");

        let rebuilt = crate::rebuild(f.root.path(), &store, &[], &Labels::new()).await.unwrap();
        assert_eq!((rebuilt.kept, rebuilt.dropped.len()), (1, 3));
        assert!(rebuilt.unknown.contains(&f.folder().join("77")));
        assert_eq!(crate::check(f.root.path(), &store).unwrap(), Vec::<String>::new());
        assert_eq!(f.seen("other").await, ["a"]);
    }
}

#[tokio::test]
async fn what_is_mounted_is_made_known_again() {
    let f = Fixture::new("overlayfs");
    f.layer("one", "", |root| std::fs::write(root.join("a"), "").unwrap()).await;
    f.layer("two", "one", |root| std::fs::write(root.join("b"), "").unwrap()).await;
    let mounts = f.prepare("container", "two").await.unwrap();
    let mounted = crate::Mounted {
        namespace: f.ns.clone(),
        key: "container".to_owned(),
        upper: mounts[0].value("upperdir").unwrap().into(),
        lower: mounts[0].lower_folders().into_iter().map(PathBuf::from).collect(),
    };
    let root = f.forget_everything();
    let store = metadata::Store::open(&root.path().join("metadata")).unwrap();
    let rebuilt = crate::rebuild(root.path(), &store, &[mounted], &Labels::new()).await.unwrap();
    assert_eq!((rebuilt.adopted, rebuilt.unknown.len()), (3, 0));
    drop(store);
    let f = Fixture::open(root, "overlayfs");
    assert_eq!(f.snapshotter.mounts(&f.ns, "container").unwrap(), mounts);
    f.remove("container").await.unwrap();
    f.remove("rebuilt-2").await.unwrap();
    f.remove("rebuilt-1").await.unwrap();
}
