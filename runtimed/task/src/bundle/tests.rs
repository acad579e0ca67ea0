//! Bundles on a real file system, as root where owners and mounts matter.

use std::collections::BTreeMap;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use super::*;

fn config(root: &Path) -> Config {
    Config {
        state: root.join("state"),
        root: root.join("root"),
        address: root.join("d.sock"),
        ttrpc_address: root.join("d.sock.ttrpc"),
        binary: PathBuf::from("/none/runtimed"),
        runtimes: BTreeMap::new(),
        shim_timeout: Duration::from_secs(1),
        timeouts: crate::types::Timeouts::default(),
        debug: false,
        standby: false,
    }
}

fn bundle(root: &Path) -> Bundle {
    let namespace = Namespace::parse("n").unwrap();
    Bundle::of(&config(root), &namespace, &ContainerId::parse("c").unwrap())
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn the_layout_is_containerds() {
    let root = tempfile::tempdir().unwrap();
    let bundle = bundle(root.path());
    bundle.create(b"{}", Path::new("/bin/shim"), false).unwrap();
    bundle.create_work().unwrap();
    let path = root.path().join("state/io.containerd.runtime.v2.task/n/c");
    assert_eq!(bundle.path(), path);
    assert_eq!(fs::read(path.join("config.json")).unwrap(), b"{}");
    assert!(fs::metadata(path.join("log")).unwrap().file_type().is_fifo());
    let work = root.path().join("root/io.containerd.runtime.v2.task/n/c");
    assert_eq!(fs::read_link(path.join("work")).unwrap(), work);
    assert!(work.is_dir());
    assert_eq!(bundle.read_binary().unwrap(), Path::new("/bin/shim"));
    assert_eq!((mode(&path), mode(&path.join("rootfs"))), (0o700, 0o711));
    fs::write(path.join("left"), "over").unwrap();
    bundle.create(b"{}", Path::new("/bin/shim"), false).unwrap();
    assert!(!path.join("left").exists());
    bundle.create_work().unwrap();
    bundle.remove().unwrap();
    assert_eq!(fs::read_dir(path.parent().unwrap().parent().unwrap()).unwrap().count(), 0);
    assert!(!work.exists());
    bundle.remove().unwrap();
}

#[test]
fn a_neighbour_that_goes_takes_nothing_along() {
    let root = tempfile::tempdir().unwrap();
    let namespace = Namespace::parse("n").unwrap();
    let of = |id: &str| Bundle::of(&config(root.path()), &namespace, &ContainerId::parse(id).unwrap());
    let live = |bundle: Bundle| {
        for _ in 0..80 {
            bundle.create(b"{}", Path::new("/bin/shim"), false).unwrap();
            bundle.create_work().unwrap();
            bundle.remove().unwrap();
        }
    };
    std::thread::scope(|scope| {
        for bundle in ["a", "b", "c"].map(of) {
            scope.spawn(move || live(bundle));
        }
    });
}

#[test]
fn a_remapped_root_may_pass_through() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let bundle = bundle(root.path());
    let spec = br#"{"linux":{"uidMappings":[{"containerID":0,"hostID":100000,"size":65536}],
        "gidMappings":[{"containerID":0,"hostID":200000,"size":65536}]}}"#;
    bundle.create(spec, Path::new("/bin/shim"), false).unwrap();
    let meta = fs::metadata(bundle.path()).unwrap();
    assert_eq!((meta.gid(), meta.uid(), meta.mode() & 0o777), (200_000, 0, 0o710));
}

#[test]
fn a_spec_that_is_no_json_leaves_nothing() {
    let root = tempfile::tempdir().unwrap();
    let error = bundle(root.path()).create(b"{", Path::new("/bin/shim"), false).unwrap_err();
    assert_eq!(error.kind(), Kind::InvalidArgument);
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
}

#[test]
fn removal_takes_mounts_down_and_never_enters_them() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let bundle = bundle(root.path());
    bundle.create(b"{}", Path::new("/bin/shim"), false).unwrap();
    let image = root.path().join("image");
    fs::create_dir(&image).unwrap();
    fs::write(image.join("file"), "kept").unwrap();
    let rootfs = bundle.path().join("rootfs");
    for _ in 0..2 {
        rustix::mount::mount_bind(&image, &rootfs).unwrap();
    }
    bundle.remove().unwrap();
    assert!(!bundle.path().exists());
    assert_eq!(fs::read(image.join("file")).unwrap(), b"kept");
}

#[test]
fn what_lies_in_rootfs_is_not_deleted() {
    let root = tempfile::tempdir().unwrap();
    let bundle = bundle(root.path());
    bundle.create(b"{}", Path::new("/bin/shim"), false).unwrap();
    fs::write(bundle.path().join("rootfs/file"), "kept").unwrap();
    let error = bundle.remove().unwrap_err();
    assert!(error.message().contains("rootfs"), "{error:?}");
    assert_eq!(fs::read(bundle.path().join("rootfs/file")).unwrap(), b"kept");
}

#[test]
fn an_address_is_found_in_either_form() {
    let root = tempfile::tempdir().unwrap();
    let bundle = bundle(root.path());
    bundle.create(b"{}", Path::new("/bin/shim"), false).unwrap();
    assert!(bundle.read_bootstrap().unwrap_err().is_not_found());
    fs::write(bundle.path().join("address"), "unix:///s/1").unwrap();
    let old = Bootstrap { version: 2, address: "unix:///s/1".into(), protocol: "ttrpc".into() };
    assert_eq!(bundle.read_bootstrap().unwrap(), old);
    let new = Bootstrap { version: 3, address: "unix:///s/2".into(), protocol: "ttrpc".into() };
    bundle.write_bootstrap(&new).unwrap();
    let json = fs::read_to_string(bundle.path().join("bootstrap.json")).unwrap();
    assert_eq!(json, r#"{"version":3,"address":"unix:///s/2","protocol":"ttrpc"}"#);
    assert_eq!(bundle.read_bootstrap().unwrap(), new);
    fs::write(bundle.path().join("bootstrap.json"), "{").unwrap();
    assert_eq!(bundle.read_bootstrap().unwrap_err().kind(), Kind::DataLoss);
    fs::write(bundle.path().join("bootstrap.json"), vec![b' '; 1 << 20]).unwrap();
    assert!(bundle.read_bootstrap().unwrap_err().message().contains("larger than"));
}

#[test]
fn an_exit_is_kept_to_the_nanosecond() {
    let root = tempfile::tempdir().unwrap();
    let bundle = bundle(root.path());
    bundle.create(b"{}", Path::new("/bin/shim"), false).unwrap();
    assert_eq!(bundle.read_exit().unwrap(), None);
    let at = SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000, 123_456_789);
    let exit = Exit { pid: 7, status: 137, at };
    bundle.write_exit(&Ended::new(exit, true, false)).unwrap();
    let ended = bundle.read_exit().unwrap().unwrap();
    assert_eq!((ended.exit(), ended.lost, ended.reported), (exit, true, false));
}
