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

/// What may take the place of a folder `c`.
fn in_place_of_a_folder() -> Vec<(Entry, Vec<u8>)> {
    let links = ["c", "nowhere", "e", "e/f", "../outside", "/outside/secret"];
    let mut replacing = vec![file("c", "a file now"), thing("c", Kind::Fifo, "")];
    replacing.extend(links.map(|link| thing("c", Kind::Symlink, link)));
    replacing
}

fn dated(name: &str, seconds: i64) -> (Entry, Vec<u8>) {
    let (entry, data) = folder(name);
    (Entry { mtime: crate::archive::Time { seconds, nanoseconds: 0 }, ..entry }, data)
}

#[test]
fn folders_that_something_else_replaced_are_passed_over() {
    for replacing in in_place_of_a_folder() {
        let shown = format!("{:?} {:?}", replacing.0.kind, String::from_utf8_lossy(&replacing.0.link));
        let entries = [
            dated("e", 7),
            dated("e/a", 7),
            dated("e/a/b", 7),
            file("e/f", ""),
            file("c/implied/d", ""),
            dated("c/a", 9),
            dated("c/a/b", 9),
            replacing.clone(),
        ];
        let (tree, applied) = contained(&entries);
        applied.unwrap_or_else(|error| panic!("{shown}: {}", error.chain()));
        let found = std::fs::symlink_metadata(tree.path("c")).unwrap();
        assert!(!found.is_dir(), "{shown}");
        // Where the link leads is not what the layer named.
        for name in ["e/a", "e/a/b"] {
            assert_eq!(std::fs::metadata(tree.path(name)).unwrap().mtime(), 7, "{shown}: {name}");
        }

        let upper = Tree::overlay();
        for name in ["c/implied", "c/a/b", "e/implied"] {
            std::fs::create_dir_all(upper.lower(name)).unwrap();
        }
        upper.apply(&layer(&entries)).unwrap_or_else(|error| panic!("{shown}: {}", error.chain()));
        assert!(!std::fs::symlink_metadata(upper.path("c")).unwrap().is_dir(), "{shown}");
    }
}

#[test]
fn folders_reached_through_a_symlink_keep_their_times() {
    let (tree, applied) = contained(&[
        dated("real", 5),
        thing("link", Kind::Symlink, "real"),
        dated("link/below", 6),
        file("link/below/x", ""),
    ]);
    applied.unwrap();
    assert_eq!(std::fs::metadata(tree.path("real/below")).unwrap().mtime(), 6);
    assert_eq!(std::fs::metadata(tree.path("real")).unwrap().mtime(), 5);
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

/// A name of four thousand bytes that makes hundreds of folders, each of which has to be remembered by a name.
#[test]
fn names_that_are_kept_are_bounded() {
    let deep = "deepdeep/".repeat(440);
    let entries: Vec<_> = (0..15).map(|number| file(&format!("{number}/{deep}f"), "")).collect();
    // In memory: a disk has more to do for so many folders.
    let tree = Tree::plain_in(tempfile::tempdir_in("/dev/shm").unwrap());
    let error = tree.apply(&layer(&entries)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
    assert!(error.chain().contains("names of the layer's folders"), "{}", error.chain());
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

/// What `limits` make of a layer in an empty tree.
fn under(limits: Limits, entries: &[(Entry, Vec<u8>)]) -> (Tree, errors::Result<Applied>) {
    let tree = Tree::plain();
    let bytes = layer(entries);
    let applied = apply(&tree.mounts, &bytes[..], Compression::None, &limits, tree.folder.path());
    (tree, applied)
}

#[test]
fn names_and_extra_headers_have_limits() {
    let name = Limits { name: 300, ..ROOMY };
    let long = "n/".repeat(200);
    for entry in [file(&long, ""), thing("link", Kind::Symlink, &long)] {
        let error = under(name.clone(), &[entry]).1.unwrap_err();
        assert!(error.to_string().contains("tar name of 400 bytes, \"n/n/"), "{error}");
        assert!(error.to_string().contains("longer than the limit of 300"), "{error}");
    }
    let headers = Limits { headers: 4096, ..ROOMY };
    let mut entry = file("a", "").0;
    entry.xattrs.insert(b"user.x".to_vec(), vec![b'x'; 5000]);
    let error = under(headers.clone(), &[(entry.clone(), Vec::new())]).1.unwrap_err();
    assert!(error.to_string().contains("limit of 4096 bytes"), "{error}");
    // Headers that say nothing cost their own room.
    entry.xattrs = [(b"user.x".to_vec(), b"1".to_vec())].into();
    let once = layer(&[(entry, Vec::new())]);
    let extra = &once[..once.len() - 3 * 512];
    let many = [extra.repeat(20), once.clone()].concat();
    let tree = Tree::plain();
    let error = apply(&tree.mounts, &many[..], Compression::None, &headers, tree.folder.path()).unwrap_err();
    assert!(error.to_string().contains("limit of 4096 bytes"), "{error}");
    tree.apply(&once).unwrap();
}

#[test]
fn a_policy_refuses_devices_by_name() {
    let refuse = Limits { devices: crate::Devices::Refuse, ..ROOMY };
    for (kind, words) in [
        (Kind::CharDevice { major: 1, minor: 3 }, "character device 1:3 \"dev/x\""),
        (Kind::BlockDevice { major: 8, minor: 0 }, "block device 8:0 \"dev/x\""),
    ] {
        let (tree, applied) = under(refuse.clone(), &[thing("dev/x", kind, "")]);
        let error = applied.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        assert!(error.to_string().contains(words), "{error}");
        assert!(!tree.path("dev").exists());
        under(ROOMY, &[thing("dev/x", kind, "")]).1.unwrap();
    }
    under(refuse, &[thing("fifo", Kind::Fifo, "")]).1.unwrap();
}

#[test]
fn a_policy_strips_or_refuses_lent_rights() {
    use std::os::unix::fs::PermissionsExt as _;
    let lent = || {
        let (mut both, mut capable, mut shared) =
            (file("su", "x").0, file("ping", "x").0, folder("shared/").0);
        both.mode = 0o6755;
        capable.xattrs.insert(b"security.capability".to_vec(), CAPABILITY.to_vec());
        shared.mode = 0o2775;
        [(both, b"x".to_vec()), (capable, b"x".to_vec()), (shared, Vec::new())]
    };
    let mode =
        |tree: &Tree, name: &str| std::fs::metadata(tree.path(name)).unwrap().permissions().mode() & 0o7777;
    let capable =
        |tree: &Tree| rustix::fs::getxattr(tree.path("ping"), "security.capability", &mut [0u8; 64][..]);
    let (tree, applied) = under(ROOMY, &lent());
    let allowed = applied.unwrap();
    assert_eq!((mode(&tree, "su"), mode(&tree, "shared")), (0o6755, 0o2775));
    assert!(capable(&tree).is_ok());
    let (tree, applied) = under(Limits { setuid: crate::Setuid::Strip, ..ROOMY }, &lent());
    assert_eq!(applied.unwrap(), allowed, "the diff id is the layer's, not the tree's");
    assert_eq!((mode(&tree, "su"), mode(&tree, "shared")), (0o755, 0o2775));
    assert!(capable(&tree).is_err());
    for entry in lent().into_iter().take(2) {
        let error = under(Limits { setuid: crate::Setuid::Refuse, ..ROOMY }, &[entry]).1.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        assert!(error.to_string().contains("layer.setuid forbids"), "{error}");
    }
    let shared = lent().into_iter().nth(2).unwrap();
    under(Limits { setuid: crate::Setuid::Refuse, ..ROOMY }, &[shared]).1.unwrap();
}

/// cap_net_raw+ep, as setcap(8) writes it.
const CAPABILITY: &[u8] = &[1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

#[test]
fn attributes_that_cannot_be_are_named() {
    let with = |key: &[u8], length: usize| {
        let mut entry = file("a", "").0;
        entry.xattrs.insert(key.to_vec(), vec![b'x'; length]);
        under(ROOMY, &[(entry, Vec::new())]).1.unwrap_err().to_string()
    };
    assert!(with(b"", 1).contains("attribute \"\" of \"a\""));
    assert!(with(b"user.a\0b", 1).contains("has no name that is possible"));
    assert!(with(&[b"user.", &[b'x'; 300][..]].concat(), 1).contains("1 to 255 bytes"));
    assert!(with(b"user.big", 70_000).contains("\"user.big\" of \"a\" of the layer has 70000 bytes"));
    let mut entry = file("a", "").0;
    for number in 0..9000 {
        entry.xattrs.insert(format!("user.{number}").into_bytes(), b"1".to_vec());
    }
    let error = under(ROOMY, &[(entry, Vec::new())]).1.unwrap_err().to_string();
    assert!(error.contains("is one too many"), "{error}");
}

#[test]
fn times_beyond_the_file_systems_are_cut_off_and_owners_beyond_the_kernels_refused() {
    let mut entries = Vec::new();
    for (at, seconds) in [0, -1, i64::MIN + 1, i64::MAX, -62_135_596_800].into_iter().enumerate() {
        let mut entry = file(&format!("f{at}"), "").0;
        entry.mtime.seconds = seconds;
        entries.push((entry, Vec::new()));
    }
    let (tree, applied) = contained(&entries);
    applied.unwrap();
    use std::os::unix::fs::MetadataExt as _;
    assert_eq!(std::fs::metadata(tree.path("f1")).unwrap().mtime(), -1);
    let mut entry = file("f", "").0;
    entry.uid = u32::MAX;
    let error = contained(&[(entry, Vec::new())]).1.unwrap_err();
    assert!(error.to_string().contains("uid 4294967295 is out of range"), "{error}");
}

#[test]
fn a_zstd_frame_that_asks_for_much_memory_is_refused() {
    // Magic, no single segment, a window of 2^30 bytes, one last raw block of a byte (RFC 8878).
    let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 20 << 3, 0b1001, 0, 0, b'x'];
    let tree = Tree::plain();
    let error = apply(&tree.mounts, &frame[..], Compression::Zstd, &ROOMY, tree.folder.path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.chain().contains("requires too much memory"), "{}", error.chain());
    let wide = Limits { window: 1 << 30, ..ROOMY };
    let error = apply(&tree.mounts, &frame[..], Compression::Zstd, &wide, tree.folder.path()).unwrap_err();
    assert!(error.chain().contains("truncated"), "{}", error.chain());
}

#[test]
fn a_scan_says_what_an_application_says() {
    let good = layer(&[file("a", "xyz"), folder("d/"), file("d/b", "1")]);
    let scanned = crate::scan(&good[..], Compression::None, &ROOMY).unwrap();
    assert_eq!(scanned, crate::Scanned { entries: 3, bytes: 4 });
    let few = Limits { entries: 2, ..ROOMY };
    assert_eq!(
        crate::scan(&good[..], Compression::None, &few).unwrap_err().kind(),
        ErrorKind::ResourceExhausted
    );
    assert!(crate::scan(&good[..514], Compression::None, &ROOMY).is_err());
}

#[test]
fn a_layer_applied_before_its_parents_is_settled_afterwards() {
    use std::os::unix::fs::PermissionsExt;
    let tree = Tree::overlay();
    let mut apart = tree.mounts[0].clone();
    apart.options.retain(|option| option.starts_with("upperdir="));
    let mut stated = folder("stated/").0;
    stated.mode = 0o750;
    let bytes = layer(&[
        file("implied/deep/f", "x"),
        file("stated/f", "x"),
        (stated, Vec::new()),
        file("gone/f", "x"),
        file("gone", "a file after all"),
        file("implied/.wh.removed", ""),
    ]);
    let (applied, unsettled) = crate::apply_apart(&apart, &bytes[..], Compression::None, &ROOMY).unwrap();
    assert_eq!(applied.size, bytes.len() as u64);
    // Only now do the layers below come about.
    for (name, mode) in [("implied", 0o1777), ("implied/deep", 0o700), ("stated", 0o777), ("gone", 0o711)] {
        std::fs::create_dir(tree.lower(name)).unwrap();
        std::fs::set_permissions(tree.lower(name), PermissionsExt::from_mode(mode)).unwrap();
    }
    std::os::unix::fs::chown(tree.lower("implied"), Some(5), Some(6)).unwrap();
    unsettled.settle(&[tree.folder.path().join("lower")]).unwrap();
    let found = |name: &str| std::fs::symlink_metadata(tree.path(name)).unwrap();
    assert_eq!((found("implied").uid(), found("implied").gid()), (5, 6));
    assert_eq!(found("implied").mode() & 0o7777, 0o1777);
    assert_eq!(found("implied/deep").mode() & 0o7777, 0o700);
    assert_eq!(found("stated").mode() & 0o7777, 0o750, "what the layer says itself counts");
    assert!(found("gone").is_file() && is_whiteout(&tree.path("implied/removed")));
    let below = std::fs::metadata(tree.lower("implied")).unwrap();
    assert_eq!(found("implied").mtime(), below.mtime());
}
