//! Archives whose layers or documents lie, are broken, or lead out.

use anyhow::{Result, ensure};
use harness::hostile::{Blob, Entry, Image, digest, pax, tar};
use serde_json::json;

use crate::{load, nothing_is_left, one, refused, scene};

/// Layers, and what the error says of each.
fn bad_layers() -> Vec<(&'static str, Image, &'static str)> {
    let named = |name: &[u8]| vec![pax(&[("path", name)]), Entry::file("x", b"")];
    let sized = |entry: Entry, size: u64| Entry { size: Some(size), ..entry };
    let device = Entry { device: (8, 0), ..Entry::thing("dev/sda", b'4', "") };
    let setuid = Entry { mode: 0o4755, ..Entry::file("bin/su", b"x") };
    let bomb = Image::of_tars(&[tar(&[Entry::file("zeros", &vec![0; 64 << 20])])]);
    let many = (0..300).map(|number| Entry::file(&format!("f{number}"), b"")).collect();
    let holes = vec![
        pax(&[
            ("GNU.sparse.major", b"0"),
            ("GNU.sparse.minor", b"1"),
            ("GNU.sparse.size", b"1125899906842624"),
            ("GNU.sparse.map", b"0,1"),
        ]),
        Entry::file("holes", b"x"),
    ];
    vec![
        ("whiteout of ..", one(vec![Entry::file("a/.wh...", b"")]), "invalid whiteout name: \"a/.wh...\""),
        ("whiteout without a name", one(vec![Entry::file(".wh.", b"")]), "invalid whiteout name: \".wh.\""),
        ("hard link outside", one(vec![Entry::thing("h", b'1', "../../../etc/passwd")]), "link \"h\" to"),
        ("hard link to the root", one(vec![Entry::thing("h", b'1', "/")]), "the target is the root"),
        ("file for a folder", one(vec![Entry::file("f", b""), Entry::file("f/x", b"")]), "\"f\""),
        (
            "symlinks in a ring",
            {
                let ring = [("a", "b"), ("b", "a")].map(|(name, to)| Entry::thing(name, b'2', to));
                one([&ring[..], &[Entry::file("a/x", b"")]].concat())
            },
            "make the folder \"a\"",
        ),
        ("a bomb", bomb, "unpacks to more than the limit of 16777216 bytes"),
        ("many entries", one(many), "more than the limit of 200 entries"),
        ("petabytes of holes", one(holes), "unpacks to more than the limit"),
        ("a long name", one(named(&[b'n'; 3000])), "is longer than the limit of 2048"),
        ("a long component", one(named(&[b'n'; 300])), "File name too long"),
        ("a NUL in a name", one(named(b"a\0b")), "holds a NUL"),
        ("large records", one(named(&[b'n'; 200_000])), "longer than the limit of 131072 bytes"),
        ("a long name of 2^60 bytes", one(vec![sized(Entry::thing("l", b'L', ""), 1 << 60)]), "long name of"),
        ("a device", one(vec![device]), "block device 8:0 \"dev/sda\" of the layer is refused"),
        ("setuid", one(vec![setuid]), "\"bin/su\" of the layer is refused: layer.setuid"),
        (
            "capabilities",
            one(vec![
                pax(&[(
                    "SCHILY.xattr.security.capability",
                    &[1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
                )]),
                Entry::file("bin/ping", b"x"),
            ]),
            "\"bin/ping\" of the layer is refused",
        ),
        (
            "an attribute without a name",
            one(vec![pax(&[("SCHILY.xattr.", b"x")]), Entry::file("f", b"")]),
            "attribute \"\" of \"f\"",
        ),
        (
            "an attribute that is too big",
            one(vec![pax(&[("SCHILY.xattr.user.big", &[b'x'; 70_000])]), Entry::file("f", b"")]),
            "user.big",
        ),
        (
            "an owner out of range",
            one(vec![Entry { owner: 1 << 40, ..Entry::file("f", b"") }]),
            "out of range",
        ),
        ("no owner", one(vec![Entry { owner: u32::MAX.into(), ..Entry::file("f", b"") }]), "out of range"),
        (
            "a size that lies",
            Image::of_tars(&[tar(&[sized(Entry::file("f", b"short"), 1 << 20)])]),
            "truncated",
        ),
        ("an unknown sort", one(vec![Entry::thing("f", b'Z', "")]), "unhandled tar header type 'Z' of \"f\""),
        ("no archive at all", Image::of_tars(&[vec![7; 2048]]), "invalid tar header"),
    ]
}

/// A value in a value in a value.
fn nested(depth: usize) -> serde_json::Value {
    (0..depth).fold(json!(1), |inner, _| json!([inner]))
}

/// Documents that lie, and what the error says of each.
fn bad_documents() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let good = || one(vec![Entry::file("f", b"x")]);
    let with = |change: &dyn Fn(&mut Image)| {
        let mut image = good();
        change(&mut image);
        image.archive("x:1")
    };
    let deep = format!("{}1{}", "{\"a\":".repeat(10_000), "}".repeat(10_000));
    vec![
        ("wrong diff id", with(&|i| i.diff_ids[0] = digest(b"else")), "wrong diff id"),
        (
            "too few diff ids",
            with(&|i| i.diff_ids.clear()),
            "number of layers and diffIDs don't match: 1 != 0",
        ),
        ("wrong size of a layer", with(&|i| i.layers[0].size += 1), "its descriptor says"),
        (
            "wrong digest of a layer",
            with(&|i| i.layers[0].digest = digest(b"else")),
            "unexpected commit digest",
        ),
        (
            "a cut layer",
            with(&|i| {
                let cut = i.layers[0].bytes[..i.layers[0].bytes.len() - 9].to_vec();
                i.layers[0] = Blob::new(&i.layers[0].media_type, cut);
            }),
            "layer cannot be unpacked",
        ),
        (
            "a type that is no layer's",
            with(&|i| i.layers[0].media_type = "text/html".into()),
            "\"text/html\" is no layer's",
        ),
        (
            "a negative size",
            {
                let manifest = format!(
                    r#"{{"schemaVersion":2,"config":{{"mediaType":"x","digest":"{}","size":-5}},"layers":[]}}"#,
                    digest(b"x")
                );
                with(&|i| i.manifest = Some(manifest.clone().into_bytes()))
            },
            "negative",
        ),
        (
            "a manifest nested deep",
            with(&|i| i.manifest = Some(deep.clone().into_bytes())),
            "schemaVersion 0 is not supported",
        ),
        (
            "an index nested deep",
            tar(&[
                Entry::file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#),
                Entry::file("index.json", deep.as_bytes()),
            ]),
            "schemaVersion 0 is not supported",
        ),
        (
            "a manifest past the limit",
            with(&|i| {
                let manifest = i.manifest_blob().bytes;
                i.manifest = Some([manifest, vec![b' '; 9 << 20]].concat());
            }),
            "8388608",
        ),
        (
            "an index past the limit",
            tar(&[
                Entry::file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#),
                Entry::file("index.json", &vec![b' '; 9 << 20]),
            ]),
            "index.json",
        ),
        (
            "docker's manifest nested deep",
            tar(&[Entry::file("manifest.json", deep.as_bytes())]),
            "manifest.json",
        ),
        ("a config nested deep", with(&|i| i.config = nested(500)), "config"),
        (
            "a config nested 10,000 deep",
            with(&|i| {
                let config = Blob::new("application/vnd.oci.image.config.v1+json", deep.clone().into_bytes());
                let described =
                    |b: &Blob| json!({ "mediaType": b.media_type, "digest": b.digest, "size": b.size });
                let manifest = json!({ "schemaVersion": 2, "config": described(&config), "layers": [described(&i.layers[0])] });
                i.manifest = Some(manifest.to_string().into_bytes());
                i.layers.push(config);
            }),
            "config",
        ),
        (
            "a foreign layer",
            {
                let mut image = good();
                image.layers[0].media_type =
                    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip".into();
                let archive = image.archive("x:1");
                // Its blob is elsewhere, as such layers are.
                let hex = image.layers[0].digest.replace("sha256:", "");
                let at = archive.windows(64).position(|window| window == hex.as_bytes()).unwrap_or_default();
                let start = at - "blobs/sha256/".len();
                let length = 512 + image.layers[0].bytes.len().next_multiple_of(512);
                [&archive[..start], &archive[start + length..]].concat()
            },
            "not found",
        ),
        (
            "an archive that is cut",
            {
                let whole = good().archive("x:1");
                whole[..3000].to_vec()
            },
            "the archive is cut off",
        ),
        ("no archive", b"hello".repeat(1000), "not a tar archive"),
    ]
}

#[test]
fn archives_that_mean_harm() -> Result<()> {
    let scene = scene(
        "[layer]\nmax_bytes = 16777216\nmax_entries = 200\nmax_name = 2048\nmax_headers = 131072\ndevices = \"refuse\"\nsetuid = \"refuse\"\n",
    )?;
    for (what, image, words) in bad_layers() {
        refused(&scene, what, &load(&scene, &image.archive("x:1"))?, words)?;
    }
    for (what, archive, words) in bad_documents() {
        refused(&scene, what, &load(&scene, &archive)?, words)?;
    }
    // After all that an honest one comes in, under the name that docker would say.
    let loaded = load(&scene, &one(vec![Entry::file("f", b"x")]).archive("thing:7"))?;
    ensure!(loaded.stdout.contains("Loaded image: thing:7"), "{loaded:?}");
    ensure!(scene.ok(&["images"])?.contains("thing"));
    let loaded = load(&scene, &one(vec![Entry::file("f", b"y")]).archive("v1"))?;
    ensure!(loaded.stdout.contains("Loaded image: v1:latest"), "{loaded:?}");
    scene.ok(&["create", "v1", "/x"])?;
    scene.finish()
}

/// What leads out of a layer leads nowhere: by names, by links, and through what an earlier layer laid.
#[test]
fn nothing_gets_out_of_a_layer() -> Result<()> {
    let scene = scene("")?;
    let outside = scene.root().join("outside");
    std::fs::create_dir(&outside)?;
    std::fs::write(outside.join("kept"), "kept")?;
    let away = outside.display().to_string();
    let up = format!("{}{away}", "../".repeat(12));
    let names = ["/tmp/../../..", "..", ""].map(|prefix| format!("{prefix}{away}/named"));
    let mut base: Vec<Entry> = names.iter().map(|name| Entry::file(name, b"evil")).collect();
    base.push(Entry::thing("link", b'2', &away));
    base.push(Entry::thing("up", b'2', &up));
    base.push(Entry::file("link/through", b"evil"));
    base.push(Entry::thing("same", b'5', ""));
    base.push(Entry::thing("same", b'2', &away));
    base.push(Entry::file("same/through", b"evil"));
    base.push(Entry { mtime: -1 << 40, ..Entry::file("old", b"") });
    base.push(Entry { mtime: i64::MAX, ..Entry::file("late", b"") });
    base.push(Entry { mtime: i64::MIN, ..Entry::file("early", b"") });
    let over = vec![
        Entry::file("link/second", b"evil"),
        Entry::file("up/second", b"evil"),
        Entry::file("link/.wh.kept", b""),
        Entry::file("up/.wh..wh..opq", b""),
        Entry::file("same/.wh..wh..opq", b""),
    ];
    let loaded = load(&scene, &Image::of(&[base, over]).archive("out:1"))?;
    ensure!(loaded.code == 0, "{loaded:?}");
    let found: Vec<_> = std::fs::read_dir(&outside)?.flatten().map(|entry| entry.file_name()).collect();
    ensure!(found == ["kept"] && std::fs::read_to_string(outside.join("kept"))? == "kept", "{found:?}");
    scene.ok(&["create", "--name", "held", "out:1"])?;
    scene.ok(&["rm", "held"])?;
    scene.ok(&["rmi", "out:1"])?;
    nothing_is_left(&scene, "removed")?;
    scene.finish()
}
