//! The very mounts that containerd's overlay snapshotter answers with.

use super::*;

/// The options of the only mount, with the snapshots' folder left out.
fn options(f: &Fixture, mounts: &[Mount]) -> (String, String, Vec<String>) {
    let [one] = mounts else { panic!("{mounts:?}") };
    let short = |text: &String| text.replace(&format!("{}/", f.folder().display()), "");
    (one.kind.clone(), short(&one.source), one.options.iter().map(short).collect())
}

fn mount(kind: &str, source: &str, options: &[&str]) -> (String, String, Vec<String>) {
    (kind.to_owned(), source.to_owned(), options.iter().map(|option| (*option).to_owned()).collect())
}

#[tokio::test]
async fn mounts_are_containerds() {
    let f = Fixture::new("overlayfs");
    let first = f.prepare("a", "").await.unwrap();
    assert_eq!(options(&f, &first), mount("bind", "1/fs", &["rw", "rbind"]));
    f.commit("one", "a").await.unwrap();
    let second = f.prepare("b", "one").await.unwrap();
    assert_eq!(
        options(&f, &second),
        mount("overlay", "overlay", &["workdir=2/work", "upperdir=2/fs", "lowerdir=1/fs", "index=off"])
    );
    f.commit("two", "b").await.unwrap();
    let third = f.prepare("c", "two").await.unwrap();
    assert_eq!(
        options(&f, &third),
        mount("overlay", "overlay", &["workdir=3/work", "upperdir=3/fs", "lowerdir=2/fs:1/fs", "index=off"])
    );
    // The next number may be that of the folder which is made ahead.
    let empty = options(&f, &f.view("view-", "").await.unwrap());
    let bind = |folder| mount("bind", folder, &["ro", "rbind"]);
    assert!(empty == bind("4/fs") || empty == bind("5/fs"), "{empty:?}");
    let views = [
        ("one", mount("bind", "1/fs", &["ro", "rbind"])),
        ("two", mount("overlay", "overlay", &["lowerdir=2/fs:1/fs", "index=off"])),
    ];
    for (parent, expected) in views {
        let view = f.view(&format!("view-{parent}"), parent).await.unwrap();
        assert_eq!(options(&f, &view), expected);
    }
}

#[tokio::test]
async fn the_root_looks_as_in_the_layer_below() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
    let f = Fixture::new("overlayfs");
    f.layer("one", "", |root| {
        std::os::unix::fs::chown(root, Some(5), Some(6)).unwrap();
        std::fs::set_permissions(root, PermissionsExt::from_mode(0o711)).unwrap();
    })
    .await;
    let mounted = f.mounted(&f.prepare("run", "one").await.unwrap());
    let found = std::fs::metadata(mounted.path()).unwrap();
    assert_eq!((found.mode() & 0o7777, found.uid(), found.gid()), (0o711, 5, 6));
}

#[tokio::test]
async fn unknown_snapshotters_are_refused_by_name() {
    let root = tempfile::tempdir().unwrap();
    let store = metadata::Store::open(&root.path().join("metadata")).unwrap();
    let all = Snapshotters::open(root.path(), store, Bus::new()).unwrap();
    assert_eq!(all.get("").unwrap().name(), "overlayfs");
    let Err(error) = all.get("devmapper") else { panic!("found it") };
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.chain().starts_with("snapshotter not loaded: devmapper"), "{}", error.chain());
    assert!(!root.path().join("io.containerd.snapshotter.v1.overlayfs/probe").exists());
}

#[tokio::test]
async fn a_root_that_options_cannot_name_leaves_overlay_out() {
    let root = tempfile::tempdir().unwrap();
    let odd = root.path().join("a,b");
    std::fs::create_dir(&odd).unwrap();
    let store = metadata::Store::open(&root.path().join("metadata")).unwrap();
    let all = Snapshotters::open(&odd, store, Bus::new()).unwrap();
    assert_eq!(all.names(), ["native"]);
    let Err(error) = all.get("overlayfs") else { panic!("found it") };
    assert!(error.chain().contains("cannot name a folder with ','"), "{}", error.chain());
}
