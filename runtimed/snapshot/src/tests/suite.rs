//! What every snapshotter promises.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt};

use super::*;
use crate::Kind;

with_each_snapshotter!(
    layers_show_through,
    removals_show_through,
    attributes_survive,
    a_view_cannot_be_written,
    kinds_and_times_are_told,
    names_are_taken_once,
    parents_must_be_committed,
    only_active_ones_are_committed,
    a_child_protects_its_parent,
    labels_change_by_mask,
    usage_is_its_own,
    lists_by_filter,
    mounts_come_again,
    a_long_chain,
    removal_leaves_nothing,
    namespaces_do_not_meet,
    changes_are_told,
    a_target_that_exists_is_not_prepared_again,
    mapped_ids_are_refused_by_name,
    many_at_once,
);

async fn layers_show_through(f: &Fixture) {
    f.layer("one", "", |root| {
        std::fs::write(root.join("a"), "1").unwrap();
        std::fs::create_dir(root.join("d")).unwrap();
        std::fs::write(root.join("d/x"), "1").unwrap();
    })
    .await;
    f.layer("two", "one", |root| {
        std::fs::write(root.join("a"), "2").unwrap();
        std::fs::write(root.join("d/y"), "2").unwrap();
    })
    .await;
    assert_eq!(f.seen("one").await, ["a", "d"]);
    let mounted = f.mounted(&f.prepare("run", "two").await.unwrap());
    let read = |name: &str| std::fs::read_to_string(mounted.path().join(name)).unwrap();
    assert_eq!((read("a"), read("d/x"), read("d/y")), ("2".to_owned(), "1".to_owned(), "2".to_owned()));
    std::fs::write(mounted.path().join("a"), "3").unwrap();
    mounted.close().unwrap();
    // What an active one writes is its own.
    let mounted = f.mounted(&f.view("look", "two").await.unwrap());
    assert_eq!(std::fs::read_to_string(mounted.path().join("a")).unwrap(), "2");
}

async fn removals_show_through(f: &Fixture) {
    f.layer("one", "", |root| {
        for name in ["a", "b", "c"] {
            std::fs::create_dir(root.join(name)).unwrap();
            std::fs::write(root.join(name).join("old"), "").unwrap();
        }
    })
    .await;
    f.layer("two", "one", |root| {
        std::fs::remove_dir_all(root.join("a")).unwrap();
        std::fs::remove_file(root.join("b/old")).unwrap();
        std::fs::remove_dir_all(root.join("c")).unwrap();
        std::fs::create_dir(root.join("c")).unwrap();
        std::fs::write(root.join("c/new"), "").unwrap();
    })
    .await;
    f.layer("three", "two", |root| {
        std::fs::rename(root.join("b"), root.join("moved")).unwrap_or_else(|_| {
            // Overlayfs without redirect_dir answers EXDEV, as mv(1) knows.
            std::fs::remove_dir(root.join("b")).unwrap();
            std::fs::create_dir(root.join("moved")).unwrap();
        })
    })
    .await;
    let mounted = f.mounted(&f.view("look", "three").await.unwrap());
    assert_eq!(names(mounted.path()), ["c", "moved"]);
    assert_eq!(names(&mounted.path().join("c")), ["new"]);
    assert!(names(&mounted.path().join("moved")).is_empty());
}

async fn attributes_survive(f: &Fixture) {
    let stat = |path: &Path| {
        let found = std::fs::symlink_metadata(path).unwrap();
        (
            found.mode(),
            found.uid(),
            found.gid(),
            found.mtime(),
            found.mtime_nsec(),
            found.nlink(),
            found.rdev(),
        )
    };
    let mut before = Vec::new();
    let all = ["file", "hard", "link", "fifo"];
    f.layer("one", "", |root| {
        std::fs::write(root.join("file"), "x").unwrap();
        std::os::unix::fs::chown(root.join("file"), Some(12), Some(34)).unwrap();
        std::fs::set_permissions(root.join("file"), PermissionsExt::from_mode(0o6711)).unwrap();
        std::fs::hard_link(root.join("file"), root.join("hard")).unwrap();
        std::os::unix::fs::symlink("/nowhere", root.join("link")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, root.join("fifo"), rustix::fs::Mode::RUSR).unwrap();
        rustix::fs::setxattr(root.join("file"), "user.a", b"1", rustix::fs::XattrFlags::empty()).unwrap();
        before = all.map(|name| stat(&root.join(name))).to_vec();
    })
    .await;
    for key in ["first", "second"] {
        let mounted = f.mounted(&f.prepare(key, "one").await.unwrap());
        let after = all.map(|name| stat(&mounted.path().join(name))).to_vec();
        assert_eq!(after, before);
        let mut value = [0; 8];
        assert_eq!(rustix::fs::getxattr(mounted.path().join("file"), "user.a", &mut value[..]), Ok(1));
    }
}

async fn a_view_cannot_be_written(f: &Fixture) {
    f.layer("one", "", |root| std::fs::write(root.join("a"), "").unwrap()).await;
    f.layer("two", "one", |root| std::fs::write(root.join("b"), "").unwrap()).await;
    for parent in ["", "one", "two"] {
        let mounted = f.mounted(&f.view(&format!("view-{parent}"), parent).await.unwrap());
        let error = std::fs::write(mounted.path().join("c"), "").unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem, "on {parent:?}");
    }
}

async fn kinds_and_times_are_told(f: &Fixture) {
    f.layer("one", "", |_| {}).await;
    f.prepare("active", "one").await.unwrap();
    f.view("view", "one").await.unwrap();
    for (key, kind, parent) in
        [("one", Kind::Committed, ""), ("active", Kind::Active, "one"), ("view", Kind::View, "one")]
    {
        let info = f.snapshotter.stat(&f.ns, key).unwrap();
        assert_eq!((info.kind, info.parent.as_str(), info.name.as_str()), (kind, parent, key));
        assert!(info.created_at.elapsed().unwrap().as_secs() < 60);
    }
    let error = f.snapshotter.stat(&f.ns, "nothing").unwrap_err();
    assert_eq!(
        (error.kind(), error.chain().as_str()),
        (ErrorKind::NotFound, "snapshot nothing does not exist: not found")
    );
}

async fn names_are_taken_once(f: &Fixture) {
    f.layer("one", "", |_| {}).await;
    f.prepare("key", "one").await.unwrap();
    for key in ["key", "one"] {
        assert_eq!(kind(f.prepare(key, "").await), ErrorKind::AlreadyExists);
        assert_eq!(kind(f.view(key, "").await), ErrorKind::AlreadyExists);
        assert_eq!(kind(f.commit(key, "key").await), ErrorKind::AlreadyExists);
    }
    assert_eq!(kind(f.prepare("", "").await), ErrorKind::InvalidArgument);
    assert_eq!(f.folders().await.len(), 2);
}

async fn parents_must_be_committed(f: &Fixture) {
    f.prepare("active", "").await.unwrap();
    assert_eq!(kind(f.prepare("x", "active").await), ErrorKind::InvalidArgument);
    assert_eq!(kind(f.view("x", "active").await), ErrorKind::InvalidArgument);
    let error = f.prepare("x", "nothing").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.chain().contains("parent snapshot nothing does not exist"), "{}", error.chain());
    assert_eq!(f.folders().await.len(), 1);
}

async fn only_active_ones_are_committed(f: &Fixture) {
    f.layer("one", "", |_| {}).await;
    f.view("view", "one").await.unwrap();
    assert_eq!(kind(f.commit("x", "view").await), ErrorKind::FailedPrecondition);
    assert_eq!(kind(f.commit("x", "one").await), ErrorKind::FailedPrecondition);
    assert_eq!(kind(f.commit("x", "nothing").await), ErrorKind::NotFound);
    // The key goes with the commit, and a committed one is not mounted itself.
    assert_eq!(kind(f.snapshotter.stat(&f.ns, "making-one")), ErrorKind::NotFound);
    assert_eq!(kind(f.snapshotter.mounts(&f.ns, "one")), ErrorKind::FailedPrecondition);
}

async fn a_child_protects_its_parent(f: &Fixture) {
    f.layer("one", "", |_| {}).await;
    f.layer("two", "one", |_| {}).await;
    f.view("view", "two").await.unwrap();
    for key in ["one", "two"] {
        let error = f.remove(key).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
        assert!(error.chain().contains("cannot remove snapshot with child"), "{}", error.chain());
    }
    for key in ["view", "two", "one"] {
        f.remove(key).await.unwrap();
    }
    assert_eq!(kind(f.remove("one").await), ErrorKind::NotFound);
}

async fn labels_change_by_mask(f: &Fixture) {
    let given = labels(&[("a", "1"), ("b", "2"), ("empty", "")]);
    f.snapshotter.prepare(&f.ns, "key", "", given).await.unwrap();
    let update = async |pairs: &[(&str, &str)], mask: &[&str]| {
        let mask: Vec<String> = mask.iter().map(|path| (*path).to_owned()).collect();
        f.snapshotter.update(&f.ns, "key", labels(pairs), &mask).await
    };
    assert_eq!(f.snapshotter.stat(&f.ns, "key").unwrap().labels, labels(&[("a", "1"), ("b", "2")]));
    let info = update(&[("b", "3"), ("c", "4")], &["labels.b"]).await.unwrap();
    assert_eq!(info.labels, labels(&[("a", "1"), ("b", "3")]));
    assert_eq!(update(&[], &["labels.a"]).await.unwrap().labels, labels(&[("b", "3")]));
    assert_eq!(update(&[("z", "1")], &[]).await.unwrap().labels, labels(&[("z", "1")]));
    assert_eq!(kind(update(&[], &["parent"]).await), ErrorKind::InvalidArgument);
    assert_eq!(kind(update(&[("k", &"v".repeat(5000))], &[]).await), ErrorKind::InvalidArgument);
    // A commit brings its own labels.
    f.snapshotter.commit(&f.ns, "done", "key", labels(&[("own", "1")])).await.unwrap();
    assert_eq!(f.snapshotter.stat(&f.ns, "done").unwrap().labels, labels(&[("own", "1")]));
}

async fn usage_is_its_own(f: &Fixture) {
    f.layer("one", "", |root| {
        std::fs::write(root.join("big"), vec![1; 1 << 20]).unwrap();
        std::fs::hard_link(root.join("big"), root.join("same")).unwrap();
    })
    .await;
    let usage = f.snapshotter.usage(&f.ns, "one").await.unwrap();
    assert_eq!(usage.inodes, 2);
    assert!((1 << 20..(1 << 20) + (64 << 10)).contains(&usage.size), "{usage:?}");
    f.view("view", "one").await.unwrap();
    assert_eq!(f.snapshotter.usage(&f.ns, "view").await.unwrap(), crate::Usage::default());
    f.prepare("active", "one").await.unwrap();
    let before = f.snapshotter.usage(&f.ns, "active").await.unwrap();
    let mounted = f.mounted(&f.snapshotter.mounts(&f.ns, "active").unwrap());
    std::fs::write(mounted.path().join("more"), vec![1; 4096]).unwrap();
    std::fs::File::open(mounted.path().join("more")).unwrap().sync_all().unwrap();
    let after = f.snapshotter.usage(&f.ns, "active").await.unwrap();
    assert_eq!(after.inodes, before.inodes + 1);
    assert_eq!(kind(f.snapshotter.usage(&f.ns, "nothing").await), ErrorKind::NotFound);
}

async fn lists_by_filter(f: &Fixture) {
    f.layer("one", "", |_| {}).await;
    f.layer("two", "one", |_| {}).await;
    f.snapshotter.prepare(&f.ns, "active", "two", labels(&[("a.b/c", "x")])).await.unwrap();
    f.view("view", "two").await.unwrap();
    let list = |filters: &[&str]| {
        let filters: Vec<String> = filters.iter().map(|filter| (*filter).to_owned()).collect();
        let found = f.snapshotter.list(&f.ns, &filters).unwrap();
        found.into_iter().map(|info| info.name).collect::<Vec<_>>()
    };
    assert_eq!(list(&[]), ["active", "one", "two", "view"]);
    assert_eq!(list(&["kind==committed"]), ["one", "two"]);
    assert_eq!(list(&["parent==two"]), ["active", "view"]);
    assert_eq!(list(&["parent==two,kind==view", "name==one"]), ["one", "view"]);
    assert_eq!(list(&["labels.\"a.b/c\"==x"]), ["active"]);
    assert_eq!(kind(f.snapshotter.list(&f.ns, &["==".to_owned()])), ErrorKind::InvalidArgument);
}

async fn mounts_come_again(f: &Fixture) {
    f.layer("one", "", |_| {}).await;
    f.layer("two", "one", |_| {}).await;
    let active = f.prepare("active", "two").await.unwrap();
    let view = f.view("view", "two").await.unwrap();
    assert_eq!(f.snapshotter.mounts(&f.ns, "active").unwrap(), active);
    assert_eq!(f.snapshotter.mounts(&f.ns, "view").unwrap(), view);
    let mounted = f.mounted(&active);
    std::fs::write(mounted.path().join("kept"), "").unwrap();
    mounted.close().unwrap();
    let again = f.mounted(&f.snapshotter.mounts(&f.ns, "active").unwrap());
    assert_eq!(names(again.path()), ["kept"]);
    assert_eq!(kind(f.snapshotter.mounts(&f.ns, "nothing")), ErrorKind::NotFound);
}

async fn a_long_chain(f: &Fixture) {
    let mut parent = String::new();
    for number in 0..70 {
        let name = format!("layer-{number:03}");
        f.layer(&name, &parent, |root| {
            std::fs::write(root.join(&name), "").unwrap();
            std::fs::write(root.join("last"), &name).unwrap();
        })
        .await;
        parent = name;
    }
    let mounted = f.mounted(&f.prepare("run", &parent).await.unwrap());
    assert_eq!(names(mounted.path()).len(), 71);
    assert_eq!(std::fs::read_to_string(mounted.path().join("last")).unwrap(), "layer-069");
    std::fs::write(mounted.path().join("written"), "").unwrap();
}

async fn removal_leaves_nothing(f: &Fixture) {
    f.layer("one", "", |root| {
        std::fs::create_dir_all(root.join("a/b/c")).unwrap();
        std::fs::write(root.join("a/b/c/d"), "").unwrap();
    })
    .await;
    let mounted = f.mounted(&f.prepare("active", "one").await.unwrap());
    std::fs::write(mounted.path().join("a/b/new"), "").unwrap();
    mounted.close().unwrap();
    f.view("view", "one").await.unwrap();
    assert_eq!(f.folders().await.len(), 3);
    for key in ["active", "view", "one"] {
        f.remove(key).await.unwrap();
    }
    assert!(f.folders().await.is_empty());
    assert!(f.snapshotter.all().unwrap().is_empty());
    // A key is free again.
    f.prepare("active", "").await.unwrap();
}

async fn namespaces_do_not_meet(f: &Fixture) {
    let other = Namespace::parse("other").unwrap();
    f.layer("one", "", |_| {}).await;
    assert_eq!(kind(f.snapshotter.prepare(&other, "x", "one", Labels::new()).await), ErrorKind::NotFound);
    f.snapshotter.prepare(&other, "one", "", Labels::new()).await.unwrap();
    assert_eq!(f.snapshotter.list(&f.ns, &[]).unwrap().len(), 1);
    assert_eq!(f.snapshotter.list(&other, &[]).unwrap().len(), 1);
    assert_eq!(f.snapshotter.all().unwrap().len(), 2);
    f.snapshotter.remove(&other, "one").await.unwrap();
    assert_eq!(f.seen("one").await, Vec::<String>::new());
}

async fn changes_are_told(f: &Fixture) {
    let mut listening = f.events.subscribe(filters::Filters::default());
    f.prepare("key", "").await.unwrap();
    f.commit("name", "key").await.unwrap();
    f.view("view", "name").await.unwrap();
    f.remove("view").await.unwrap();
    for topic in ["/snapshot/prepare", "/snapshot/commit", "/snapshot/remove"] {
        let event = listening.next().await.unwrap().unwrap();
        assert_eq!((event.topic.as_str(), &event.namespace), (topic, &f.ns));
    }
}

async fn a_target_that_exists_is_not_prepared_again(f: &Fixture) {
    f.layer("chain", "", |_| {}).await;
    let wanted = |target| labels(&[("containerd.io/snapshot.ref", target)]);
    let error = f.snapshotter.prepare(&f.ns, "extract", "", wanted("chain")).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.chain().as_str()),
        (ErrorKind::AlreadyExists, "target snapshot \"chain\": already exists")
    );
    f.snapshotter.prepare(&f.ns, "extract", "", wanted("other")).await.unwrap();
}

async fn mapped_ids_are_refused_by_name(f: &Fixture) {
    for label in ["containerd.io/snapshot/uidmapping", "containerd.io/snapshot/gidmapping"] {
        let error = f.snapshotter.prepare(&f.ns, "x", "", labels(&[(label, "0:1000:1")])).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unimplemented);
        assert!(error.chain().contains(label));
    }
}

async fn many_at_once(f: &Fixture) {
    f.layer("base", "", |root| std::fs::write(root.join("a"), "").unwrap()).await;
    let tasks: Vec<_> = (0..32)
        .map(|number| {
            let (snapshotter, ns) = (f.snapshotter.clone(), f.ns.clone());
            tokio::spawn(async move {
                // Two each fight for one key.
                let key = format!("key-{}", number / 2);
                let made = snapshotter.prepare(&ns, &key, "base", Labels::new()).await;
                snapshotter.cleanup().await.unwrap();
                made.map(|mounts| (key, mounts))
            })
        })
        .collect();
    let mut won = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok((key, mounts)) => {
                won += 1;
                assert_eq!(f.snapshotter.mounts(&f.ns, &key).unwrap(), mounts);
                f.mounted(&mounts).close().unwrap();
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::AlreadyExists),
        }
    }
    assert_eq!(won, 16);
    assert_eq!(f.folders().await.len(), 17);
}
