//! Layers made of two trees, and what becomes of them when they are applied.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::process::Command;

use super::*;
use crate::create;

/// A stack of overlay folders with mounts as a snapshotter gives them.
struct Stack {
    folder: TempDir,
}

impl Stack {
    fn new() -> Stack {
        let folder = tempfile::tempdir().unwrap();
        for name in ["base", "upper", "work", "copy"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        Stack { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn bind(&self, name: &str) -> Vec<Mount> {
        vec![Mount {
            kind: "bind".to_owned(),
            source: self.path(name).display().to_string(),
            options: vec!["ro".to_owned(), "rbind".to_owned()],
            ..Mount::default()
        }]
    }

    fn upper(&self) -> Vec<Mount> {
        let path = |name: &str| self.path(name).display().to_string();
        vec![Mount {
            kind: "overlay".to_owned(),
            source: "overlay".to_owned(),
            target: String::new(),
            options: vec![
                format!("workdir={}", path("work")),
                format!("upperdir={}", path("upper")),
                format!("lowerdir={}", path("base")),
                "index=off".to_owned(),
            ],
        }]
    }

    /// Changes the tree through the overlay.
    fn change(&self, change: impl FnOnce(&Path)) {
        let mounted = snapshot::TemporaryMount::new(&self.path("mounts"), &self.upper()).unwrap();
        change(mounted.path());
        mounted.close().unwrap();
    }

    fn diff(&self, lower: &[Mount], upper: &[Mount]) -> Vec<u8> {
        let mut out = Vec::new();
        let made = create(lower, upper, &mut out, Compression::None, &self.path("scratch")).unwrap();
        assert_eq!(made.size, out.len() as u64);
        use sha2::Digest as _;
        let hash: [u8; 32] = sha2::Sha256::digest(&out).into();
        assert_eq!(made.diff_id, ids::Digest::from_sha256(hash));
        assert!(!self.path("scratch").exists() || names(&self.path("scratch")).is_empty(), "still mounted");
        out
    }
}

fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// What GNU tar finds in a layer.
fn listed(layer: &[u8]) -> Vec<String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), layer).unwrap();
    let output = Command::new("tar").arg("-tf").arg(file.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

fn base(root: &Path) {
    for folder in ["same/deep", "opaque", "gone", "swap"] {
        std::fs::create_dir_all(root.join(folder)).unwrap();
    }
    for file in [
        "same/deep/kept",
        "same/deep/edited",
        "same/removed",
        "opaque/old",
        "gone/x",
        "swap/x",
        "mode",
        "touched",
    ] {
        std::fs::write(root.join(file), "before").unwrap();
    }
    std::fs::write(root.join("linked"), "linked").unwrap();
    std::fs::hard_link(root.join("linked"), root.join("alias")).unwrap();
}

fn edit(root: &Path) {
    std::fs::write(root.join("same/deep/edited"), "after!").unwrap();
    std::fs::remove_file(root.join("same/removed")).unwrap();
    std::fs::remove_dir_all(root.join("opaque")).unwrap();
    std::fs::create_dir(root.join("opaque")).unwrap();
    std::fs::write(root.join("opaque/new"), "new").unwrap();
    std::fs::remove_dir_all(root.join("gone")).unwrap();
    std::fs::remove_dir_all(root.join("swap")).unwrap();
    std::fs::write(root.join("swap"), "now a file").unwrap();
    std::fs::set_permissions(root.join("mode"), PermissionsExt::from_mode(0o4755)).unwrap();
    std::fs::create_dir(root.join("added")).unwrap();
    std::fs::write(root.join("added").join("f".repeat(150)), "long").unwrap();
    std::os::unix::fs::symlink("../elsewhere", root.join("added/link")).unwrap();
    std::os::unix::fs::chown(root.join("added"), Some(3_000_000), Some(7)).unwrap();
    rustix::fs::setxattr(root.join("added"), "user.note", b"1\n2", rustix::fs::XattrFlags::empty()).unwrap();
}

/// A line for each thing in a tree: what must be the same after a layer was made and applied.
fn describe(root: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut todo = vec![root.to_owned()];
    while let Some(folder) = todo.pop() {
        for name in names(&folder) {
            let path = folder.join(name);
            let found = std::fs::symlink_metadata(&path).unwrap();
            let content = match found.file_type() {
                kind if kind.is_dir() => {
                    todo.push(path.clone());
                    String::new()
                }
                kind if kind.is_symlink() => std::fs::read_link(&path).unwrap().display().to_string(),
                _ => read(&path),
            };
            let shown = path.strip_prefix(root).unwrap().display().to_string();
            lines.push(format!("{shown} {:o} {}:{} {content}", found.mode(), found.uid(), found.gid()));
        }
    }
    lines.sort();
    lines
}

#[test]
fn an_overlays_upper_folder_tells_the_difference() {
    let stack = Stack::new();
    base(&stack.path("base"));
    stack.change(edit);
    let layer = stack.diff(&stack.bind("base"), &stack.upper());
    assert_eq!(
        listed(&layer),
        [
            "added/",
            &format!("added/{}", "f".repeat(150)),
            "added/link",
            ".wh.gone",
            "mode",
            "opaque/",
            "opaque/.wh..wh..opq",
            "opaque/new",
            "same/",
            "same/deep/",
            "same/deep/edited",
            "same/.wh.removed",
            "swap",
        ]
    );
}

#[test]
fn any_two_trees_are_compared() {
    let stack = Stack::new();
    base(&stack.path("base"));
    let copied =
        Command::new("cp").arg("-a").arg(stack.path("base/.")).arg(stack.path("copy")).status().unwrap();
    assert!(copied.success());
    edit(&stack.path("copy"));
    let layer = stack.diff(&stack.bind("base"), &stack.bind("copy"));
    assert_eq!(
        listed(&layer),
        [
            "added/",
            &format!("added/{}", "f".repeat(150)),
            "added/link",
            ".wh.gone",
            "mode",
            "opaque/new",
            "opaque/.wh.old",
            "same/",
            "same/deep/",
            "same/deep/edited",
            "same/.wh.removed",
            "swap",
        ]
        .iter()
        .flat_map(|name| if *name == "opaque/new" { vec!["opaque/", "opaque/new"] } else { vec![*name] })
        .collect::<Vec<_>>()
    );
}

#[test]
fn what_is_made_and_applied_is_what_was() {
    for layered in [true, false] {
        let stack = Stack::new();
        base(&stack.path("base"));
        stack.change(edit);
        let view = snapshot::TemporaryMount::new(&stack.path("mounts"), &stack.upper()).unwrap();
        let expected = describe(view.path());
        view.close().unwrap();

        let mut upper = stack.upper();
        if !layered {
            // Said otherwise, the upper folder cannot be told to stand on the lower tree.
            upper[0].options.push("redirect_dir=on".to_owned());
        }
        let layer = stack.diff(&stack.bind("base"), &upper);

        // Into a copy of the base, and as another layer of an overlay on it.
        let copied =
            Command::new("cp").arg("-a").arg(stack.path("base/.")).arg(stack.path("copy")).status().unwrap();
        assert!(copied.success());
        let mut target = stack.bind("copy");
        target[0].options = vec!["rw".to_owned()];
        apply(&target, &layer[..], Compression::None, &ROOMY, &stack.path("scratch")).unwrap();
        assert_eq!(describe(&stack.path("copy")), expected, "layered: {layered}");
        let mut value = [0; 8];
        let length = rustix::fs::getxattr(stack.path("copy/added"), "user.note", &mut value[..]).unwrap();
        assert_eq!(&value[..length], b"1\n2");

        for name in ["upper", "work"] {
            std::fs::remove_dir_all(stack.path(name)).unwrap();
            std::fs::create_dir(stack.path(name)).unwrap();
        }
        apply(&stack.upper(), &layer[..], Compression::None, &ROOMY, &stack.path("scratch")).unwrap();
        let view = snapshot::TemporaryMount::new(&stack.path("mounts"), &stack.upper()).unwrap();
        assert_eq!(describe(view.path()), expected, "layered: {layered}");
    }
}

#[test]
fn equal_trees_make_equal_layers_and_no_entries() {
    let stack = Stack::new();
    base(&stack.path("base"));
    let empty = stack.diff(&stack.bind("base"), &stack.bind("base"));
    assert_eq!(empty, vec![0; 1024]);
    stack.change(|root| {
        // Copied up, but not changed.
        let kept = root.join("touched");
        let times = std::fs::metadata(&kept).unwrap().modified().unwrap();
        let file = std::fs::OpenOptions::new().append(true).open(&kept).unwrap();
        file.set_modified(times).unwrap();
    });
    assert!(stack.path("upper/touched").exists());
    assert_eq!(stack.diff(&stack.bind("base"), &stack.upper()), vec![0; 1024]);
    let whole = stack.diff(&[], &stack.bind("base"));
    assert_eq!(whole, stack.diff(&[], &stack.bind("base")));
    assert_eq!(listed(&whole).len(), 15);
}

#[test]
fn another_name_of_a_changed_file_is_said_too() {
    let stack = Stack::new();
    base(&stack.path("base"));
    let copied =
        Command::new("cp").arg("-a").arg(stack.path("base/.")).arg(stack.path("copy")).status().unwrap();
    assert!(copied.success());
    // A third name, which sorts last: the first two are unchanged when they are met.
    std::fs::hard_link(stack.path("copy/alias"), stack.path("copy/zzz")).unwrap();
    let layer = stack.diff(&stack.bind("base"), &stack.bind("copy"));
    assert_eq!(listed(&layer), ["zzz", "alias", "linked"]);
    let mut target = stack.bind("base");
    target[0].options = vec!["rw".to_owned()];
    apply(&target, &layer[..], Compression::None, &ROOMY, &stack.path("scratch")).unwrap();
    let inode = |name: &str| std::fs::metadata(stack.path("base").join(name)).unwrap().ino();
    assert_eq!((inode("alias"), inode("linked")), (inode("zzz"), inode("zzz")));
}

#[test]
fn whole_seconds_mean_that_content_is_compared() {
    let stack = Stack::new();
    for (tree, content) in [("base", "one"), ("copy", "two")] {
        for (name, time) in [("cut", "@1000000000"), ("exact", "@1000000000.5")] {
            let path = stack.path(tree).join(name);
            std::fs::write(&path, content).unwrap();
            assert!(Command::new("touch").args(["-d", time]).arg(&path).status().unwrap().success());
        }
    }
    let layer = stack.diff(&stack.bind("base"), &stack.bind("copy"));
    assert_eq!(listed(&layer), ["cut"]);
}

#[test]
fn packed_layers_are_real_ones() {
    let stack = Stack::new();
    base(&stack.path("base"));
    let plain = stack.diff(&[], &stack.bind("base"));
    for (compression, tool) in [(Compression::Gzip, "gzip"), (Compression::Zstd, "zstd")] {
        let file = stack.path(tool);
        let out = std::fs::File::create(&file).unwrap();
        create(&[], &stack.bind("base"), out, compression, &stack.path("scratch")).unwrap();
        let output =
            Command::new(tool).args(["-dc"]).stdin(std::fs::File::open(&file).unwrap()).output().unwrap();
        assert!(output.status.success());
        assert_eq!(output.stdout, plain);
    }
}

#[test]
fn names_that_would_mean_removals_are_left_out() {
    let stack = Stack::new();
    std::fs::write(stack.path("copy/.wh.x"), "").unwrap();
    std::fs::write(stack.path("copy/y"), "").unwrap();
    assert_eq!(listed(&stack.diff(&stack.bind("base"), &stack.bind("copy"))), ["y"]);
}
