//! Layers made by real tools: GNU tar in its formats, gzip and zstd, umoci.

use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt};
use std::process::{Command, Stdio};

use super::*;

fn run(command: &mut Command) -> Vec<u8> {
    let output = command.stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "{command:?}");
    output.stdout
}

/// A tree with one of everything.
fn sample(root: &Path) {
    let long = "n".repeat(120);
    std::fs::create_dir_all(root.join("a/b")).unwrap();
    std::fs::create_dir_all(root.join(&long).join(&long)).unwrap();
    std::fs::write(root.join(&long).join(&long).join("deep"), "deep").unwrap();
    std::fs::write(root.join("a/b/setuid"), "#!").unwrap();
    std::fs::set_permissions(root.join("a/b/setuid"), PermissionsExt::from_mode(0o4755)).unwrap();
    std::os::unix::fs::lchown(root.join("a/b/setuid"), Some(1234), Some(4321)).unwrap();
    std::fs::set_permissions(root.join("a/b/setuid"), PermissionsExt::from_mode(0o4755)).unwrap();
    std::fs::hard_link(root.join("a/b/setuid"), root.join("a/hard")).unwrap();
    std::os::unix::fs::symlink("/nowhere/at/all", root.join("a/link")).unwrap();
    std::os::unix::fs::symlink(&long, root.join("a/longlink")).unwrap();
    std::fs::set_permissions(root.join("a"), PermissionsExt::from_mode(0o1777)).unwrap();
    run(Command::new("mkfifo").arg(root.join("a/fifo")));
    run(Command::new("mknod").arg(root.join("a/null")).args(["c", "1", "3"]));
    std::fs::write(root.join("a/capable"), "x").unwrap();
    rustix::fs::setxattr(
        root.join("a/capable"),
        "security.capability",
        CAPABILITY,
        rustix::fs::XattrFlags::empty(),
    )
    .unwrap();
    rustix::fs::setxattr(root.join("a/capable"), "user.note", b"a=b\n\0c", rustix::fs::XattrFlags::empty())
        .unwrap();
    run(Command::new("truncate").args(["-s", "3M"]).arg(root.join("a/holes")));
    run(Command::new("dd")
        .args(["if=/dev/urandom", "bs=4096", "count=3", "seek=100", "conv=notrunc", "status=none"])
        .arg(format!("of={}", root.join("a/holes").display())));
    for name in ["a/b/setuid", "a/link", "a", "a/capable"] {
        run(Command::new("touch").args(["-h", "-d", "@1350244992.023960108"]).arg(root.join(name)));
    }
}

/// cap_net_raw+ep, as setcap(8) writes it.
const CAPABILITY: &[u8] = &[1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// A line for everything in a tree.
fn describe(root: &Path, with_nanoseconds: bool) -> Vec<String> {
    let mut lines = Vec::new();
    walk(root, root, &mut lines, with_nanoseconds);
    lines.sort();
    lines
}

fn walk(root: &Path, path: &Path, lines: &mut Vec<String>, with_nanoseconds: bool) {
    for entry in std::fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        let found = std::fs::symlink_metadata(&path).unwrap();
        let kind = found.file_type();
        let content = if kind.is_file() {
            format!(
                "{:?}",
                std::fs::read(&path)
                    .unwrap()
                    .iter()
                    .fold(0u64, |sum, byte| sum.wrapping_mul(31) + u64::from(*byte))
            )
        } else if kind.is_symlink() {
            std::fs::read_link(&path).unwrap().display().to_string()
        } else {
            String::new()
        };
        let nanoseconds = if with_nanoseconds { found.mtime_nsec() } else { 0 };
        let size = if kind.is_file() { found.size() } else { 0 };
        lines.push(format!(
            "{} {:o} {}:{} {size} {} {}.{nanoseconds} {} {content}",
            path.strip_prefix(root).unwrap().display(),
            found.mode(),
            found.uid(),
            found.gid(),
            found.rdev(),
            found.mtime(),
            if kind.is_dir() { 0 } else { found.nlink() },
        ));
        if kind.is_dir() {
            walk(root, &path, lines, with_nanoseconds);
        }
    }
}

#[test]
fn gnu_tar_in_all_its_formats() {
    let source = tempfile::tempdir().unwrap();
    sample(source.path());
    for (format, exact) in [
        (&["--format=gnu", "-S"][..], false),
        (&["--format=gnu"], false),
        (&["--format=pax", "--xattrs", "--xattrs-include=*"], true),
        (&["--format=pax", "-S", "--sparse-version=0.0"], true),
        (&["--format=pax", "-S", "--sparse-version=0.1"], true),
        (&["--format=pax", "-S", "--sparse-version=1.0"], true),
    ] {
        let layer = run(Command::new("tar").args(format).arg("-C").arg(source.path()).args(["-c", "."]));
        for tree in [Tree::plain(), Tree::overlay()] {
            let applied = tree.apply(&layer).unwrap();
            assert_eq!(applied.size, layer.len() as u64);
            assert_eq!(describe(&tree.root(), exact), describe(source.path(), exact), "{format:?}");
            let blocks = std::fs::metadata(tree.path("a/holes")).unwrap().blocks();
            assert!(!format.contains(&"-S") || blocks < 200, "{format:?}: holes were filled: {blocks}");
            assert!(std::fs::symlink_metadata(tree.path("a/fifo")).unwrap().file_type().is_fifo());
            if format.contains(&"--xattrs") {
                let mut value = [0; 64];
                let length =
                    rustix::fs::getxattr(tree.path("a/capable"), "security.capability", &mut value[..])
                        .unwrap();
                assert_eq!(&value[..length], CAPABILITY);
                let length =
                    rustix::fs::getxattr(tree.path("a/capable"), "user.note", &mut value[..]).unwrap();
                assert_eq!(&value[..length], b"a=b\n\0c");
            }
        }
    }
}

#[test]
fn gzip_in_several_members_and_zstd_in_several_frames() {
    let source = tempfile::tempdir().unwrap();
    sample(source.path());
    let plain = run(Command::new("tar").arg("-C").arg(source.path()).args(["-c", "."]));
    let expected = Tree::plain().apply(&plain).unwrap();
    for (tool, compression) in [("gzip", Compression::Gzip), ("zstd", Compression::Zstd)] {
        let mut packed = Vec::new();
        for half in [&plain[..plain.len() / 2], &plain[plain.len() / 2..]] {
            let file = source.path().with_extension("half");
            std::fs::write(&file, half).unwrap();
            packed.extend(run(Command::new(tool).args(["-c", "-q"]).arg(&file)));
            std::fs::remove_file(&file).unwrap();
        }
        let tree = Tree::plain();
        let applied = apply(&tree.mounts, &packed[..], compression, &ROOMY, tree.folder.path()).unwrap();
        assert_eq!(applied, expected, "{tool}");
        assert_eq!(describe(&tree.root(), false), describe(source.path(), false), "{tool}");
    }
}

#[test]
fn the_diff_id_covers_what_follows_the_archive() {
    let mut bytes = layer(&[file("a", "x")]);
    bytes.extend([7; 5000]);
    let applied = Tree::plain().apply(&bytes).unwrap();
    use sha2::Digest as _;
    let hash: [u8; 32] = sha2::Sha256::digest(&bytes).into();
    assert_eq!(applied.diff_id, ids::Digest::from_sha256(hash));
    assert_eq!(applied.size, bytes.len() as u64);
}

#[test]
fn a_mounted_overlay_takes_a_layer_too() {
    let tree = Tree::overlay();
    std::fs::write(tree.lower("gone"), "").unwrap();
    std::fs::write(tree.lower("kept"), "").unwrap();
    // Two mounts on each other cannot be written to directly.
    let empty = tree.folder.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let mut mounts = vec![Mount {
        kind: "bind".to_owned(),
        source: empty.display().to_string(),
        options: vec!["rbind".to_owned()],
        ..Mount::default()
    }];
    mounts.extend(tree.mounts.clone());
    let bytes = layer(&[file(".wh.gone", ""), file("new", "x")]);
    let scratch = tree.folder.path().join("scratch");
    apply(&mounts, &bytes[..], Compression::None, &ROOMY, &scratch).unwrap();
    assert!(is_whiteout(&tree.path("gone")));
    assert_eq!(read(&tree.path("new")), "x");
    assert_eq!(std::fs::read_dir(&scratch).unwrap().count(), 0, "still mounted");
}

#[test]
fn read_only_mounts_are_refused() {
    let mut tree = Tree::plain();
    tree.mounts[0].options = vec!["ro".to_owned(), "rbind".to_owned()];
    let error = tree.apply(&layer(&[file("a", "")])).unwrap_err();
    assert_eq!(error.kind(), errors::Kind::FailedPrecondition);
    assert_eq!(std::fs::read_dir(tree.root()).unwrap().count(), 0);
}
