//! What layers remove, in both styles.

use super::*;

#[test]
fn a_plain_tree_loses_what_is_removed() {
    let tree = Tree::plain();
    tree.apply(&layer(&[file("d/one", ""), file("d/two", ""), file("e/f/g", ""), file("kept", "")])).unwrap();
    tree.apply(&layer(&[file("d/.wh.one", ""), file(".wh.e", ""), file(".wh.never-was", "")])).unwrap();
    assert!(!tree.path("d/one").exists() && !tree.path("e").exists());
    assert!(tree.path("d/two").exists() && tree.path("kept").exists());
    assert!(!tree.path(".wh.e").exists() && !tree.path("never-was").exists());
}

#[test]
fn an_overlay_gets_marks() {
    let tree = Tree::overlay();
    tree.apply(&layer(&[file(".wh.one", ""), folder("d/"), file("d/.wh..wh..opq", ""), file("d/new", "x")]))
        .unwrap();
    assert!(is_whiteout(&tree.path("one")));
    assert!(is_opaque(&tree.path("d")));
    assert_eq!(read(&tree.path("d/new")), "x");
    assert!(!tree.path("d/.wh..wh..opq").exists());
}

#[test]
fn opaque_spares_what_the_layer_itself_brings_wherever_it_comes() {
    for tree in [Tree::plain(), Tree::overlay()] {
        tree.apply(&layer(&[file("d/old", ""), file("d/sub/old", ""), file("d/sub/more/old", "")])).unwrap();
        tree.apply(&layer(&[
            file("d/new", ""),
            file("d/sub/new", ""),
            file("d/.wh..wh..opq", ""),
            file("d/later", ""),
        ]))
        .unwrap();
        for gone in ["d/old", "d/sub/old", "d/sub/more"] {
            assert!(!tree.path(gone).exists(), "{gone}");
        }
        for kept in ["d/new", "d/sub/new", "d/later"] {
            assert!(tree.path(kept).exists(), "{kept}");
        }
    }
}

#[test]
fn what_the_layer_brings_outlives_its_own_whiteout() {
    for entries in [[file("x", "new"), file(".wh.x", "")], [file(".wh.x", ""), file("x", "new")]] {
        for tree in [Tree::plain(), Tree::overlay()] {
            tree.apply(&layer(&[file("x", "old")])).unwrap();
            tree.apply(&layer(&entries)).unwrap();
            assert_eq!(read(&tree.path("x")), "new");
        }
    }
}

#[test]
fn a_folder_in_place_of_a_removed_one_hides_it() {
    for entries in [[folder("d/"), file(".wh.d", "")], [file(".wh.d", ""), folder("d/")]] {
        let tree = Tree::overlay();
        tree.apply(&layer(&entries)).unwrap();
        assert!(is_opaque(&tree.path("d")));
    }
}

#[test]
fn folders_left_out_look_as_in_the_layer_below() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
    let tree = Tree::overlay();
    std::fs::create_dir_all(tree.lower("var/tmp")).unwrap();
    std::os::unix::fs::chown(tree.lower("var"), Some(7), Some(8)).unwrap();
    std::fs::set_permissions(tree.lower("var/tmp"), PermissionsExt::from_mode(0o1777)).unwrap();
    tree.apply(&layer(&[file("var/tmp/x", ""), file("other/y", "")])).unwrap();
    let seen = |name: &str| {
        let found = std::fs::metadata(tree.path(name)).unwrap();
        (found.mode() & 0o7777, found.uid(), found.gid())
    };
    assert_eq!(seen("var"), (0o755, 7, 8));
    assert_eq!(seen("var/tmp"), (0o1777, 0, 0));
    assert_eq!(seen("other"), (0o755, 0, 0));
}

#[test]
fn a_whiteout_without_a_name_is_refused() {
    for name in [".wh.", ".wh..", ".wh...", "d/.wh..."] {
        let error = Tree::plain().apply(&layer(&[file("keep", ""), file(name, "")])).unwrap_err();
        assert_eq!(error.kind(), errors::Kind::InvalidArgument, "{name}");
    }
}

#[test]
fn nothing_is_removed_from_what_is_no_folder_any_more() {
    for tree in [Tree::plain(), Tree::overlay()] {
        let entries = [file("a", "a file now"), file("a/.wh.b", ""), file("a/.wh..wh..opq", "")];
        tree.apply(&layer(&entries)).unwrap();
        assert_eq!(read(&tree.path("a")), "a file now");
    }
    let tree = Tree::plain();
    tree.apply(&layer(&[file("never/was/.wh.x", ""), file("never/.wh..wh..opq", "")])).unwrap();
    assert!(!tree.path("never").exists());
}
