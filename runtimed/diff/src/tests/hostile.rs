//! Layers that mean harm, or are broken.

use std::os::unix::ffi::OsStrExt as _;

use errors::Kind as ErrorKind;
use proptest::prelude::*;

use super::*;

/// Applies, and checks that nothing outside the root was touched, whatever came of it.
fn contained(entries: &[(Entry, Vec<u8>)]) -> (Tree, errors::Result<Applied>) {
    let tree = Tree::plain();
    let outside = tree.folder.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("secret"), "secret").unwrap();
    let applied = tree.apply(&layer(entries));
    let left: Vec<_> = std::fs::read_dir(&outside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["secret"]);
    assert_eq!(read(&outside.join("secret")), "secret");
    let mut beside: Vec<_> =
        std::fs::read_dir(tree.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    beside.sort();
    assert_eq!(beside, ["outside", "root"]);
    (tree, applied)
}

#[test]
fn names_that_lead_out_stay_inside() {
    let (tree, applied) = contained(&[
        file("../outside/new", "1"),
        file("/outside/abs", "2"),
        file("a/../../../outside/dots", "3"),
    ]);
    applied.unwrap();
    assert_eq!(read(&tree.path("outside/new")), "1");
    assert_eq!(read(&tree.path("outside/abs")), "2");
    assert_eq!(read(&tree.path("outside/dots")), "3");
}

#[test]
fn symlinks_lead_where_they_would_from_inside() {
    for link in ["../outside", "/outside", "../../../../outside", "./../outside/."] {
        let (tree, applied) = contained(&[
            thing("link", Kind::Symlink, link),
            file("link/new", "x"),
            file("link/.wh.secret", ""),
            file("link/.wh..wh..opq", ""),
            file("link/secret", "mine"),
        ]);
        applied.unwrap();
        assert_eq!(read(&tree.path("outside/secret")), "mine", "{link}");
    }
}

#[test]
fn symlinks_in_circles_are_refused() {
    let (_, applied) =
        contained(&[thing("a", Kind::Symlink, "b"), thing("b", Kind::Symlink, "a"), file("a/x", "")]);
    applied.unwrap_err();
}

#[test]
fn a_link_into_proc_is_not_magic() {
    let (tree, applied) =
        contained(&[thing("p", Kind::Symlink, "/proc/self/root"), file("p/tmp/escaped-layer-test", "")]);
    applied.unwrap();
    assert!(!Path::new("/tmp/escaped-layer-test").exists());
    assert!(tree.path("proc/self/root/tmp/escaped-layer-test").exists());
}

#[test]
fn hard_links_reach_nothing_outside() {
    for target in ["../outside/secret", "/outside/secret", "link/secret"] {
        let (tree, applied) =
            contained(&[thing("link", Kind::Symlink, "../outside"), thing("hard", Kind::HardLink, target)]);
        assert_eq!(applied.unwrap_err().kind(), ErrorKind::NotFound, "{target}");
        assert!(!tree.path("hard").exists());
    }
    let (_, applied) = contained(&[thing("hard", Kind::HardLink, "/")]);
    assert_eq!(applied.unwrap_err().kind(), ErrorKind::InvalidArgument);
}

#[test]
fn a_hard_link_to_a_symlink_is_one() {
    let (tree, applied) = contained(&[
        thing("soft", Kind::Symlink, "../outside/secret"),
        thing("hard", Kind::HardLink, "soft"),
        file("hard", "replaces the link, does not write through it"),
    ]);
    applied.unwrap();
    assert!(tree.path("hard").is_file());
    assert!(tree.path("soft").is_symlink());
}

#[test]
fn a_folder_swapped_for_a_symlink_is_not_written_through() {
    let (tree, applied) = contained(&[
        file("d/first", ""),
        thing("d", Kind::Symlink, "../outside"),
        file("d/second", ""),
        file("e/x", ""),
        file("e", "now a file"),
    ]);
    applied.unwrap();
    assert!(tree.path("d").is_symlink());
    assert!(tree.path("outside/second").exists());
    assert_eq!(read(&tree.path("e")), "now a file");
}

#[test]
fn a_file_is_no_folder() {
    let (_, applied) = contained(&[file("f", ""), file("f/x", "")]);
    applied.unwrap_err();
}

#[test]
fn the_same_name_twice_is_the_last() {
    let (tree, applied) = contained(&[
        file("x", "first"),
        thing("x", Kind::Fifo, ""),
        folder("x/"),
        file("x/y", ""),
        file("x", "last"),
        thing("self", Kind::HardLink, "self"),
    ]);
    applied.unwrap();
    assert_eq!(read(&tree.path("x")), "last");
}

#[test]
fn names_may_be_any_bytes() {
    let mut entry = file("", "x").0;
    entry.name = b"\xff\xfe/\x80\n".to_vec();
    let (tree, applied) = contained(&[(entry, b"x".to_vec())]);
    applied.unwrap();
    let path = tree.root().join(std::ffi::OsStr::from_bytes(b"\xff\xfe/\x80\n"));
    assert_eq!(read(&path), "x");
}

#[test]
fn overlays_own_marks_are_not_taken_from_a_layer() {
    for tree in [Tree::plain(), Tree::overlay()] {
        let mut entry = folder("d/").0;
        entry.xattrs.insert(b"trusted.overlay.redirect".to_vec(), b"/etc".to_vec());
        entry.xattrs.insert(b"trusted.overlay.opaque".to_vec(), b"y".to_vec());
        entry.xattrs.insert(b"user.kept".to_vec(), b"1".to_vec());
        tree.apply(&layer(&[(entry, Vec::new())])).unwrap();
        let open = std::fs::File::open(tree.root()).unwrap();
        use std::os::fd::AsFd as _;
        assert_eq!(sys::xattrat::list(open.as_fd(), "d".as_ref()).unwrap(), [b"user.kept".to_vec()]);
    }
}

#[test]
fn limits_are_kept_and_named() {
    let tree = Tree::plain();
    let apply = |bytes: &[u8], limits: &Limits| {
        crate::apply(&tree.mounts, bytes, Compression::None, limits, tree.folder.path()).unwrap_err()
    };
    let many: Vec<_> = (0..11).map(|number| file(&format!("f{number}"), "")).collect();
    let error = apply(&layer(&many), &Limits { bytes: 1 << 20, entries: 10, ..Limits::DEFAULT });
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
    assert!(error.chain().contains("limit of 10 entries"), "{}", error.chain());

    let error = apply(
        &layer(&[file("big", &"x".repeat(100_000))]),
        &Limits { bytes: 90_000, entries: 10, ..Limits::DEFAULT },
    );
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
    assert!(error.chain().contains("limit of 90000 bytes"), "{}", error.chain());
}

#[test]
fn a_bomb_goes_off_at_the_limit() {
    use std::io::Write as _;
    for compression in [Compression::Gzip, Compression::Zstd] {
        let mut packed = Vec::new();
        let mut encoder = compression.encoder(&mut packed).unwrap();
        let mut entry = file("zeros", "").0;
        entry.size = 12 << 20;
        let mut headers = Writer::new(Vec::new());
        headers.entry(&entry).unwrap();
        encoder.write_all(&headers.finish().unwrap()[..512]).unwrap();
        for _ in 0..12 {
            encoder.write_all(&vec![0; 1 << 20]).unwrap();
        }
        encoder.finish().unwrap();
        assert!(packed.len() < 1 << 20);
        let tree = Tree::plain();
        let limits = Limits { bytes: 2 << 20, entries: 10, ..Limits::DEFAULT };
        let error = apply(&tree.mounts, &packed[..], compression, &limits, tree.folder.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
        let written = std::fs::metadata(tree.path("zeros")).map_or(0, |found| found.len());
        assert!(written <= 2 << 20);
    }
}

#[test]
fn cut_off_streams_are_refused() {
    let whole = layer(&[file("a", &"x".repeat(10_000)), file("b", "y")]);
    for length in [100, 511, 513, 5000, 11_000] {
        let error = Tree::plain().apply(&whole[..length]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{length}");
    }
    let mut packed = Vec::new();
    let mut encoder = Compression::Gzip.encoder(&mut packed).unwrap();
    std::io::Write::write_all(&mut encoder, &whole).unwrap();
    encoder.finish().unwrap();
    for length in [12, packed.len() / 2, packed.len() - 1] {
        let tree = Tree::plain();
        let error = apply(&tree.mounts, &packed[..length], Compression::Gzip, &ROOMY, tree.folder.path())
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{length}: {}", error.chain());
    }
}

#[test]
fn a_size_that_lies_is_found_out() {
    let mut lying = file("a", "").0;
    lying.size = 1 << 40;
    let limits = Limits { bytes: u64::MAX, entries: 10, ..Limits::DEFAULT };
    let tree = Tree::plain();
    let bytes = layer(&[(lying, b"short".to_vec())]);
    let error = apply(&tree.mounts, &bytes[..], Compression::None, &limits, tree.folder.path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

#[test]
fn extra_headers_are_bounded() {
    let mut entry = file("a", "").0;
    entry.xattrs.insert(b"user.big".to_vec(), vec![b'x'; 2 << 20]);
    let error = Tree::plain().apply(&layer(&[(entry, Vec::new())])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.chain().contains("longer than the limit of 1048576"), "{}", error.chain());

    // Also when they come in many pieces.
    let mut entry = file("a", "").0;
    entry.xattrs.insert(b"user.big".to_vec(), vec![b'x'; 300 << 10]);
    let once = layer(&[(entry, Vec::new())]);
    let extra = &once[..once.len() - 3 * 512];
    let error = Tree::plain().apply(&[extra, extra, extra, &once].concat()).unwrap_err();
    assert!(error.chain().contains("longer than the limit of 1048576"), "{}", error.chain());
}

#[test]
fn a_hundred_thousand_entries() {
    let entries: Vec<_> = (0..100_000)
        .map(|number| file(&format!("d{}/e{}/f{number}", number % 7, number % 100), ""))
        .collect();
    // In memory: a disk takes a second for what is tested here in a tenth of one.
    let tree = Tree::plain_in(tempfile::tempdir_in("/dev/shm").unwrap());
    tree.apply(&layer(&entries)).unwrap();
    assert_eq!(std::fs::read_dir(tree.path("d3")).unwrap().count(), 100);
    assert!(tree.path("d4/e99/f99999").exists());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Flipped bytes may make any layer; none may panic, hang, or reach outside.
    #[test]
    fn damaged_layers_do_no_harm(flips in proptest::collection::vec((0usize..4096, any::<u8>()), 1..20)) {
        let mut bytes = layer(&[
            file("a/b", "content"),
            thing("link", Kind::Symlink, "../outside"),
            file(&"long/".repeat(40), "x"),
            thing("hard", Kind::HardLink, "a/b"),
        ]);
        for (position, value) in flips {
            let length = bytes.len();
            bytes[position % length] = value;
        }
        let tree = Tree::plain();
        let _ = tree.apply(&bytes);
        let beside = std::fs::read_dir(tree.folder.path()).unwrap().count();
        prop_assert_eq!(beside, 1);
    }

    #[test]
    fn any_names_stay_inside(names in proptest::collection::vec("[a-c./]{1,12}", 1..12), links in proptest::collection::vec("[a-c./]{1,12}", 1..6)) {
        let mut entries = Vec::new();
        for (name, link) in names.iter().zip(links.iter().cycle()) {
            entries.push(thing(link, Kind::Symlink, name));
            entries.push(file(name, "x"));
            entries.push(thing(name, Kind::HardLink, link));
        }
        let tree = Tree::plain();
        let _ = tree.apply(&layer(&entries));
        prop_assert_eq!(std::fs::read_dir(tree.folder.path()).unwrap().count(), 1);
    }
}

#[test]
fn a_full_disk_is_told_as_such() {
    let tree = Tree::plain();
    let small = "size=1m";
    rustix::mount::mount(
        "tmpfs",
        tree.root(),
        "tmpfs",
        rustix::mount::MountFlags::empty(),
        std::ffi::CString::new(small).unwrap().as_c_str(),
    )
    .unwrap();
    let applied = tree.apply(&layer(&[file("small", "x"), file("big", &"x".repeat(2 << 20))]));
    rustix::mount::unmount(tree.root(), rustix::mount::UnmountFlags::DETACH).unwrap();
    let error = applied.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
    assert!(error.chain().contains("write \"big\""), "{}", error.chain());
}

#[test]
fn a_folder_that_turns_into_a_symlink_meanwhile_leads_nowhere() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let tree = Tree::plain();
    let outside = tree.folder.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    let (real, link, name) = (tree.path("real"), tree.path("link"), tree.path("d"));
    std::fs::create_dir(&real).unwrap();
    std::os::unix::fs::symlink(&outside, &link).unwrap();
    std::os::unix::fs::symlink("../outside", &name).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            use rustix::fs::{CWD, RenameFlags, renameat_with};
            while !done.load(Ordering::Relaxed) {
                for other in [&real, &link] {
                    // The layer may be replacing one of them at this moment.
                    let _ = renameat_with(CWD, other, CWD, &name, RenameFlags::EXCHANGE);
                }
            }
        });
        let entries: Vec<_> = (0..50)
            .flat_map(|number| {
                [
                    file(&format!("d/f{number}"), "x"),
                    file("d/.wh.gone", ""),
                    file(&format!("d/new/{number}"), ""),
                ]
            })
            .collect();
        let bytes = layer(&entries);
        for _ in 0..5 {
            // It may fail, since what it found is gone; it must not reach outside.
            let _ = tree.apply(&bytes);
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn a_file_of_holes_counts_as_big_as_it_would_be() {
    let source = tempfile::tempdir().unwrap();
    std::fs::File::create(source.path().join("holes")).unwrap().set_len(8 << 40).unwrap();
    for version in ["0.0", "0.1", "1.0"] {
        let output = std::process::Command::new("tar")
            .args(["--format=pax", "-S", &format!("--sparse-version={version}"), "-c", "holes", "-C"])
            .arg(source.path())
            .arg("holes")
            .current_dir(source.path())
            .output()
            .unwrap();
        assert!(output.stdout.len() < 1 << 20, "{}", String::from_utf8_lossy(&output.stderr));
        let tree = Tree::plain();
        let error = tree.apply(&output.stdout).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{error:?}");
        assert!(!tree.path("holes").exists());
    }
}

#[test]
fn an_attribute_that_does_not_fit_is_named() {
    let mut entry = file("a", "").0;
    entry.xattrs.insert(b"user.big".to_vec(), vec![b'x'; 70_000]);
    let error = Tree::plain().apply(&layer(&[(entry, Vec::new())])).unwrap_err();
    assert!(error.chain().contains("user.big"), "{}", error.chain());
}

#[test]
fn a_layer_may_end_behind_its_last_byte_of_data() {
    let whole = layer(&[file("a", "first"), file("b", "last words")]);
    let data = whole.windows(10).position(|window| window == b"last words").unwrap();
    let tree = Tree::plain();
    tree.apply(&whole[..data + 10]).unwrap();
    assert_eq!(read(&tree.path("b")), "last words");
    let cut = Tree::plain();
    assert!(cut.apply(&whole[..data + 9]).unwrap_err().to_string().contains("truncated"));
}
