//! A whole image, made by umoci, copied by skopeo: unpacked layer by layer, the tree must be umoci's own.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::process::Command;

use super::*;

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn umoci(folder: &Path, arguments: &[&str]) {
    run(Command::new("umoci").args(arguments).current_dir(folder));
}

fn first_layer(root: &Path) {
    for folder in ["etc", "opt/a/b", "usr/bin", "home/user"] {
        std::fs::create_dir_all(root.join(folder)).unwrap();
    }
    std::fs::write(root.join("usr/bin/tool"), "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(root.join("usr/bin/tool"), PermissionsExt::from_mode(0o4755)).unwrap();
    std::fs::hard_link(root.join("usr/bin/tool"), root.join("usr/bin/alias")).unwrap();
    std::os::unix::fs::symlink("usr/bin", root.join("bin")).unwrap();
    std::os::unix::fs::chown(root.join("home/user"), Some(1000), Some(1001)).unwrap();
    for name in ["etc/kept", "etc/removed", "opt/a/b/x", "opt/a/y"] {
        std::fs::write(root.join(name), name).unwrap();
    }
}

fn second_layer(root: &Path) {
    std::fs::remove_file(root.join("etc/removed")).unwrap();
    std::fs::remove_dir_all(root.join("opt/a")).unwrap();
    std::fs::write(root.join("opt/a"), "a file now").unwrap();
    std::fs::remove_file(root.join("bin")).unwrap();
    std::fs::create_dir(root.join("bin")).unwrap();
    std::fs::write(root.join("bin/new"), "").unwrap();
    std::fs::write(root.join("etc/kept"), "changed").unwrap();
}

fn describe(root: &Path, folder: &Path, lines: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let found = std::fs::symlink_metadata(&path).unwrap();
        let kind = found.file_type();
        let content = if kind.is_file() {
            format!("{} {}", found.mtime(), read(&path))
        } else if kind.is_symlink() {
            std::fs::read_link(&path).unwrap().display().to_string()
        } else {
            describe(root, &path, lines);
            String::new()
        };
        let links = if kind.is_dir() { 0 } else { found.nlink() };
        let name = path.strip_prefix(root).unwrap().display();
        lines.push(format!("{name} {:o} {}:{} {links} {content}", found.mode(), found.uid(), found.gid()));
    }
    lines.sort();
}

#[test]
fn the_tree_is_umocis() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    umoci(at, &["init", "--layout", "image"]);
    umoci(at, &["new", "--image", "image:tag"]);
    for (bundle, change) in [("one", first_layer as fn(&Path)), ("two", second_layer)] {
        umoci(at, &["unpack", "--image", "image:tag", bundle]);
        change(&at.join(bundle).join("rootfs"));
        umoci(at, &["repack", "--image", "image:tag", bundle]);
    }
    umoci(at, &["unpack", "--image", "image:tag", "whole"]);
    run(Command::new("skopeo").args(["copy", "oci:image:tag", "oci:copy:tag"]).current_dir(at));
    let layers = run(Command::new("skopeo")
        .args(["inspect", "--format", "{{range .Layers}}{{println .}}{{end}}", "oci:copy:tag"])
        .current_dir(at));

    let tree = Tree::plain();
    let mut applied = 0;
    for digest in layers.split_whitespace() {
        let blob = at.join("copy/blobs").join(digest.replace(':', "/"));
        let file = std::fs::File::open(blob).unwrap();
        apply(&tree.mounts, file, Compression::Gzip, &ROOMY, at).unwrap();
        applied += 1;
    }
    assert_eq!(applied, 2);
    let (mut ours, mut umocis) = (Vec::new(), Vec::new());
    describe(&tree.root(), &tree.root(), &mut ours);
    let rootfs = at.join("whole/rootfs");
    describe(&rootfs, &rootfs, &mut umocis);
    assert_eq!(ours, umocis);
}
