//! What a new start finds, also after an untimely end of the last.

use super::*;

#[tokio::test]
async fn snapshots_are_found_again() {
    for name in ["overlayfs", "native"] {
        let f = Fixture::new(name);
        f.layer("one", "", |root| std::fs::write(root.join("a"), "").unwrap()).await;
        let mounts = f.prepare("active", "one").await.unwrap();
        let before = f.snapshotter.all().unwrap();
        let usage = f.snapshotter.usage(&f.ns, "one").await.unwrap();

        let f = f.reopen();
        assert_eq!(f.snapshotter.all().unwrap(), before);
        assert_eq!(f.snapshotter.mounts(&f.ns, "active").unwrap(), mounts);
        assert_eq!(f.snapshotter.usage(&f.ns, "one").await.unwrap(), usage);
        // Numbers are not given twice.
        let next = f.prepare("next", "one").await.unwrap();
        assert_ne!(next, mounts);
        assert_eq!(f.folders().await.len(), 3);
    }
}

#[tokio::test]
async fn folders_without_records_are_removed() {
    for name in ["overlayfs", "native"] {
        let f = Fixture::new(name);
        f.layer("one", "", |_| {}).await;
        for leftover in ["17", "new-18"] {
            std::fs::create_dir_all(f.folder().join(leftover).join("fs/deep")).unwrap();
        }
        std::fs::create_dir(f.folder().join("lost+found")).unwrap();
        let f = f.reopen();
        assert_eq!(f.folders().await, ["1", "lost+found"]);
        // Nor are the numbers of leftovers used while they may be there still.
        f.prepare("next", "").await.unwrap();
        assert_eq!(f.folders().await, ["1", "19", "lost+found"]);
    }
}

#[tokio::test]
async fn an_active_one_whose_folder_was_never_synced_is_made_anew() {
    for name in ["overlayfs", "native"] {
        let f = Fixture::new(name);
        f.layer("one", "", |root| std::fs::write(root.join("a"), "").unwrap()).await;
        f.prepare("active", "one").await.unwrap();
        std::fs::remove_dir_all(f.folder().join("2")).unwrap();
        let f = f.reopen();
        let mounted = f.mounted(&f.snapshotter.mounts(&f.ns, "active").unwrap());
        assert_eq!(names(mounted.path()), ["a"]);
        std::fs::write(mounted.path().join("b"), "").unwrap();
    }
}
