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

/// What a power cut may leave of the making of a snapshot: of an overlay the folder without what belongs in it, of a copy the draft without its
/// name, and without the bytes in it.
#[tokio::test]
async fn an_active_one_that_was_cut_in_the_making_is_made_anew() {
    for name in ["overlayfs", "native"] {
        let f = Fixture::new(name);
        let fill = |root: &Path| {
            for number in 0..500 {
                std::fs::write(root.join(format!("{number:03}")), "whole").unwrap();
            }
        };
        f.layer("one", "", fill).await;
        f.prepare("active", "one").await.unwrap();
        match name {
            "overlayfs" => std::fs::remove_dir_all(f.folder().join("2/fs")).unwrap(),
            _ => {
                std::fs::write(f.folder().join("2/007"), "").unwrap();
                std::fs::rename(f.folder().join("2"), f.folder().join("new-2")).unwrap();
            }
        }
        let f = f.reopen();
        let mounted = f.mounted(&f.snapshotter.mounts(&f.ns, "active").unwrap());
        for number in 0..500 {
            let text = std::fs::read_to_string(mounted.path().join(format!("{number:03}"))).unwrap();
            assert_eq!(text, "whole", "{name}: {number}");
        }
        mounted.close().unwrap();
        assert_eq!(f.folders().await, ["1", "2"]);
    }
}

#[tokio::test]
async fn a_committed_one_that_was_damaged_stays_known_and_holds_nobody_up() {
    for name in ["overlayfs", "native"] {
        let f = Fixture::new(name);
        f.layer("one", "", |_| {}).await;
        f.layer("other", "", |root| std::fs::write(root.join("a"), "").unwrap()).await;
        std::fs::remove_dir_all(f.folder().join("1")).unwrap();
        let f = f.reopen();
        assert_eq!(f.snapshotter.stat(&f.ns, "one").unwrap().kind, crate::Kind::Committed);
        assert_eq!(f.seen("other").await, ["a"]);
        // It can be removed, and made again.
        f.remove("one").await.unwrap();
        f.layer("one", "", |root| std::fs::write(root.join("b"), "").unwrap()).await;
        assert_eq!(f.seen("one").await, ["b"]);
    }
}
