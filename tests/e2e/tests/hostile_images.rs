//! Images, archives and registries that mean harm, through a real daemon: each gets an error that names what is wrong, and
//! leaves nothing behind.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use harness::hostile::{Asked, Blob, Entry, How, Image, Registry, Reply, digest, gzip, pax, tar};
use harness::{Outcome, Scene, programs, sh};
use serde_json::json;

/// How long what a failure leaves may take to be collected.
const PATIENCE: Duration = Duration::from_secs(30);
const SECRET: &str = "hunter2-is-secret";

/// A daemon with these settings.
fn scene(settings: &str) -> Result<Scene> {
    let mut scene = Scene::with_programs(&programs::folder()?)?;
    scene.configure(settings);
    scene.start_daemon()?;
    Ok(scene)
}

fn load(scene: &Scene, archive: &[u8]) -> Result<Outcome> {
    let file = scene.root().join("archive.tar");
    std::fs::write(&file, archive)?;
    scene.rctl(&["load", "--quiet", "--input", &file.display().to_string()])
}

/// Files of blobs, unfinished blobs and snapshots, as they lie on disk.
fn files(scene: &Scene) -> Result<Vec<PathBuf>> {
    let lib = scene.root().join("lib");
    let content = lib.join("io.containerd.content.v1.content");
    let folders = [
        content.join("blobs/sha256"),
        content.join("ingest"),
        lib.join("io.containerd.snapshotter.v1.overlayfs/snapshots"),
        lib.join("tmpmounts"),
    ];
    let (mut found, mut spare) = (Vec::new(), 0);
    for folder in folders.iter().filter(|folder| folder.exists()) {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            // One folder is made ahead for the next snapshot; and one lies below all roots.
            spare += usize::from(name.starts_with("new-"));
            if name != "mount-points" && (!name.starts_with("new-") || spare > 1) {
                found.push(path);
            }
        }
    }
    Ok(found)
}

/// No name, blob, snapshot, lease or file is left, or will be in a moment.
fn nothing_is_left(scene: &Scene, what: &str) -> Result<()> {
    let began = Instant::now();
    loop {
        let mut left: Vec<String> = files(scene)?.iter().map(|path| path.display().to_string()).collect();
        // What lies on disk is quick to look at; the rest goes before it.
        if left.is_empty() {
            for noun in [&["images", "--quiet"][..], &["content", "ls", "-q"], &["leases", "ls", "-q"]] {
                left.extend(scene.ok(noun)?.lines().map(str::to_owned));
            }
        }
        if left.is_empty() {
            return Ok(());
        }
        ensure!(began.elapsed() < PATIENCE, "{what}: left behind: {left:#?}\n{}", scene.log());
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn refused(scene: &Scene, what: &str, said: &Outcome, words: &str) -> Result<()> {
    ensure!(said.code == 1, "{what}: exit code {}\n{}{}", said.code, said.stdout, said.stderr);
    ensure!(said.stderr.contains(words), "{what}: not {words:?} in {}", said.stderr);
    ensure!(said.stderr.len() < 4096, "{what}: {} bytes of error", said.stderr.len());
    nothing_is_left(scene, what)
}

fn one(entries: Vec<Entry>) -> Image {
    Image::of(&[entries])
}

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
        ("large records", one(named(&[b'n'; 200_000])), "longer than the limit of 65536 bytes"),
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
        "[layer]\nmax_bytes = 16777216\nmax_entries = 200\nmax_name = 2048\nmax_headers = 65536\ndevices = \"refuse\"\nsetuid = \"refuse\"\n",
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

#[test]
fn configs_that_mean_harm_make_no_container() -> Result<()> {
    let scene = scene("")?;
    for (number, (config, words)) in [
        (json!({ "Cmd": ["/x"], "Env": ["A=\u{0}"] }), "has a NUL byte"),
        (json!({ "Cmd": ["/x"], "Env": ["=x"] }), "has no name"),
        (json!({ "Cmd": ["/x"], "Env": [format!("A={}", "x".repeat(1 << 20))] }), "1048578 bytes"),
        (json!({ "Cmd": ["/x"], "Env": vec!["A=1"; 1_000_000] }), "1000000 entries"),
        (json!({ "Entrypoint": "/bin/sh" }), "expected a sequence"),
        (json!({ "Cmd": ["/x"], "User": "a\nb" }), "is no user"),
        (json!({ "Cmd": ["/x"], "User": "nobody-here" }), "nobody-here"),
        (json!({ "Cmd": ["/x"], "WorkingDir": "/a\u{0}" }), "is no path"),
        (json!({ "Cmd": ["/x"], "StopSignal": "SIGBOO" }), "is no signal"),
        (json!({}), "no command specified"),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("odd:{number}");
        let image = Image { config, ..one(vec![Entry::file("f", b"x")]) };
        let loaded = load(&scene, &image.archive(&name))?;
        ensure!(loaded.code == 0, "{loaded:?}");
        let made = scene.rctl(&["create", &name])?;
        ensure!(made.code == 1 && made.stderr.contains(words), "{words}: {made:?}");
        ensure!(made.stderr.len() < 4096, "{words}: {} bytes of error", made.stderr.len());
        ensure!(scene.ok(&["ps", "--all", "--quiet"])?.is_empty());
        scene.ok(&["rmi", &name])?;
    }
    // What is merely odd does no harm.
    let config = json!({
        "Cmd": ["/x"], "WorkingDir": "/../../..", "Volumes": { "/../../x": {} },
        "ExposedPorts": { "99999999/nonsense": {} }, "Labels": { "long": "x".repeat(100_000) },
    });
    let image = Image { config, ..one(vec![Entry::file("f", b"x")]) };
    ensure!(load(&scene, &image.archive("merely:odd"))?.code == 0);
    scene.ok(&["create", "--name", "made", "merely:odd"])?;
    scene.ok(&["rm", "made"])?;
    scene.ok(&["rmi", "merely:odd"])?;
    nothing_is_left(&scene, "odd configs")?;
    scene.finish()
}

/// Settings under which a test does not wait long.
const HASTY: &str = "[registry]\nconnect_timeout = 2\nidle_timeout = 1\nattempts = 2\n";

/// What the registry answers to each request; nothing: what is usual.
type Script = dyn Fn(&Asked) -> Option<Reply> + Send + Sync;

struct Trick {
    what: &'static str,
    script: Box<Script>,
    words: &'static str,
}

fn trick(
    what: &'static str,
    words: &'static str,
    script: impl Fn(&Asked) -> Option<Reply> + Send + Sync + 'static,
) -> Trick {
    Trick { what, words, script: Box::new(script) }
}

fn blobs(reply: impl Fn() -> Reply + Send + Sync + 'static) -> impl Fn(&Asked) -> Option<Reply> {
    move |asked| asked.is_blob().then(&reply)
}

fn challenge(realm: &'static str) -> impl Fn(&Asked) -> Option<Reply> {
    move |_| {
        let value = format!("Bearer realm=\"{realm}\",service=\"s\"");
        Some(Reply::new(401, b"").with("WWW-Authenticate", &value))
    }
}

fn tricks() -> Vec<Trick> {
    const METADATA: &str = "http://169.254.169.254/latest/meta-data/iam";
    let manifests = |reply: fn() -> Reply| move |asked: &Asked| asked.is_manifest().then(reply);
    vec![
        trick("silence", "no answer for 1s", blobs(|| Reply::new(200, b"").sent(How::Silent))),
        trick("a reset", "the connection broke", blobs(|| Reply::new(200, &[7; 64]).sent(How::Cut(8)))),
        trick("500", "unexpected status 500", |_| Some(Reply::new(500, b"{}"))),
        trick("to a neighbour", "169.254.169.254", blobs(|| Reply::redirect(METADATA))),
        trick(
            "to a neighbour in IPv6",
            "link-local address",
            blobs(|| Reply::redirect("http://[fe80::1]/x")),
        ),
        trick("to a neighbour, for a manifest", "169.254.169.254", manifests(|| Reply::redirect(METADATA))),
        trick(
            "to a file",
            "redirect refused: scheme \"file\"",
            blobs(|| Reply::redirect("file:///etc/shadow")),
        ),
        trick("round and round", "more than 10 redirects", |asked| {
            asked.is_blob().then(|| Reply::redirect(&asked.path))
        }),
        trick(
            "fewer bytes than said",
            "the connection broke",
            blobs(|| Reply::new(200, b"x").sent(How::Length(5))),
        ),
        trick(
            "far more bytes than said",
            "longer than",
            blobs(|| Reply::new(200, &[7; 65536]).sent(How::Endless)),
        ),
        trick("a digest that is not the manifest's", "unexpected digest", |asked| {
            let lie = digest(b"something else");
            asked.is_manifest().then(|| {
                Reply::new(200, b"{}")
                    .with("Content-Type", "application/vnd.oci.image.manifest.v1+json")
                    .with("Docker-Content-Digest", &lie)
            })
        }),
        trick("huge headers", "strange/thing", |_| {
            Some(Reply::new(200, b"").with("X-Huge", &"x".repeat(4 << 20)))
        }),
        trick("an endless manifest", "longer than 8388608 bytes", |asked| {
            let reply = Reply::new(200, &[b' '; 65536])
                .with("Content-Type", "application/vnd.oci.image.manifest.v1+json");
            (asked.is_manifest() && asked.method == "GET")
                .then(|| reply.clone().sent(How::Endless))
                .or_else(|| asked.is_manifest().then(|| Reply::new(405, b"")))
        }),
        trick("a manifest of 100 MB", "104857600", |asked| {
            asked.is_manifest().then(|| {
                Reply::new(200, b"")
                    .with("Content-Type", "application/vnd.oci.image.manifest.v1+json")
                    .with("Docker-Content-Digest", &digest(b"x"))
                    .sent(How::Length(100 << 20))
            })
        }),
        trick("a realm beside us", "realm out of reach", challenge("http://169.254.169.254/token")),
        trick("a realm in the clear", "in the clear", challenge("http://registry.example/token")),
        trick("no realm", "no usable realm", challenge("ftp://x")),
        trick("an unknown scheme", "not supported", |_| {
            Some(Reply::new(401, b"").with("WWW-Authenticate", "Negotiate abc"))
        }),
        trick("an error with escape sequences", "oops", |_| {
            Some(Reply::new(400, b"{\"errors\":[{\"code\":\"X\",\"message\":\"\\u001b[2Joops\"}]}"))
        }),
    ]
}

#[test]
fn registries_that_mean_harm() -> Result<()> {
    let scene = scene(HASTY)?;
    let image = one(vec![Entry::file("f", b"x")]);
    for Trick { what, script, words } in tricks() {
        let registry = Registry::start(&image, script)?;
        let creds = format!("ann:{SECRET}");
        let pulled = scene.rctl(&["pull", "--creds", &creds, &registry.name()])?;
        refused(&scene, what, &pulled, words)?;
        ensure!(!pulled.stderr.contains('\u{1b}'), "{what}: {pulled:?}");
        ensure!(!pulled.stderr.contains(SECRET), "{what}: {pulled:?}");
        let asked = registry.asked("/");
        ensure!(asked.len() <= 16, "{what}: asked {} times", asked.len());
    }
    let log = scene.log();
    ensure!(!log.contains(SECRET), "the secret is in the log:\n{log}");
    // "ann:hunter2-is-secret" in base64.
    ensure!(!log.contains("YW5uOmh1bnRlcjItaXMtc2VjcmV0"), "the secret is in the log:\n{log}");
    let registry = Registry::start(&image, |_| None)?;
    scene.ok(&["pull", &registry.name()])?;
    scene.finish()
}

/// What lies ends the pull, and takes along what was on its way beside it.
#[test]
fn a_lie_leaves_nothing_of_the_layers_beside_it() -> Result<()> {
    let scene = scene(HASTY)?;
    let image = Image::of(&[vec![Entry::file("f", b"x")], vec![Entry::file("g", b"y")]]);
    let (slow, wrong) = (image.layers[0].clone(), image.layers[1].clone());
    let begun = std::sync::atomic::AtomicBool::new(false);
    let registry = Registry::start(&image, move |asked| {
        if asked.path.contains(&slow.digest) {
            begun.store(true, std::sync::atomic::Ordering::Release);
            return Some(Reply::new(200, &slow.bytes).sent(How::Stall(slow.bytes.len() / 2)));
        }
        asked.path.contains(&wrong.digest).then(|| {
            let waiting = Instant::now();
            while !begun.load(std::sync::atomic::Ordering::Acquire) && waiting.elapsed() < PATIENCE {
                std::thread::sleep(Duration::from_millis(1));
            }
            Reply::new(200, &vec![7; wrong.bytes.len()])
        })
    })?;
    // Whoever finds it first says it: the store, or the unpacker.
    refused(&scene, "a lie", &scene.rctl(&["pull", &registry.name()])?, "layer")?;
    scene.finish()
}

#[test]
fn credentials_stay_with_their_registry() -> Result<()> {
    let scene = scene(HASTY)?;
    let image = one(vec![Entry::file("f", b"x")]);
    let elsewhere = Registry::start(&image, |_| None)?;
    let there = elsewhere.port;
    let registry = Registry::start(&image, move |asked| {
        if !asked.headers.contains_key("authorization") {
            return Some(Reply::new(401, b"").with("WWW-Authenticate", "Basic realm=\"x\""));
        }
        asked.is_blob().then(|| Reply::redirect(&format!("http://127.0.0.1:{there}{}", asked.path)))
    })?;
    scene.ok(&["pull", "--creds", &format!("ann:{SECRET}"), &registry.name()])?;
    let asked = elsewhere.asked("/blobs/");
    ensure!(
        !asked.is_empty() && asked.iter().all(|asked| !asked.headers.contains_key("authorization")),
        "{asked:?}"
    );
    ensure!(!scene.log().contains(SECRET));
    scene.finish()
}

#[test]
fn a_registry_that_is_busy_is_asked_again() -> Result<()> {
    let scene = scene(HASTY)?;
    let image = one(vec![Entry::file("f", b"x")]);
    let turns = std::sync::atomic::AtomicU32::new(0);
    let registry = Registry::start(&image, move |asked| {
        let turn = turns.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        (asked.is_manifest() && turn == 0).then(|| Reply::new(429, b"{}").with("Retry-After", "1"))
    })?;
    scene.ok(&["pull", &registry.name()])?;
    scene.finish()
}

fn mounted(folder: &Path, options: &str) -> Result<()> {
    let mut mount = std::process::Command::new("mount");
    sh::run(mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(folder))
}

/// A disk that is full in the middle is told as such; what came is taken back, and with room again all works.
#[test]
fn a_full_disk_leaves_nothing_half() -> Result<()> {
    let mut scene = Scene::with_programs(&programs::folder()?)?;
    let lib = scene.root().join("lib");
    std::fs::create_dir(&lib)?;
    mounted(&lib, "size=24m")?;
    let done = full(&mut scene, &lib);
    let stopped = if scene.pid().is_some() { scene.stop_daemon() } else { Ok(()) };
    sh::run(std::process::Command::new("umount").arg(&lib)).context("take the small disk down")?;
    done?;
    stopped?;
    scene.finish()
}

/// The same for the folder of bundles and sockets: a container that there is no room for is told so, and takes nothing.
#[test]
fn a_full_state_folder_makes_no_container() -> Result<()> {
    let mut scene = Scene::with_programs(&programs::folder()?)?;
    let run = scene.root().join("run");
    std::fs::create_dir(&run)?;
    mounted(&run, "size=1m")?;
    let done = crowded(&mut scene, &run).with_context(|| scene.log());
    if done.is_err() {
        // Nothing may keep the small disk.
        scene.rctl(&["rm", "--force", "before", "one", "two"])?;
    }
    let stopped = if scene.pid().is_some() { scene.stop_daemon() } else { Ok(()) };
    sh::run(std::process::Command::new("umount").arg(&run)).context("take the small disk down")?;
    done?;
    stopped?;
    scene.finish()
}

fn crowded(scene: &mut Scene, run: &Path) -> Result<()> {
    scene.start_daemon()?;
    e2e::load(scene)?;
    scene.ok(&["run", "--rm", "busybox", "true"])?;
    scene.ok(&["run", "-d", "--name", "before", "busybox", "sleep", "1000"])?;
    let lines = |nouns: &[&str]| -> Result<usize> { Ok(scene.ok(nouns)?.lines().count()) };
    let snapshots = lines(&["snapshots", "ls"])?;
    // All that there is room for.
    let filler = run.join("filler");
    let mut file = std::fs::File::create(&filler)?;
    while file.write_all(&[1; 4096]).is_ok() {}
    drop(file);
    for name in ["one", "two"] {
        let said = scene.rctl(&["run", "-d", "--name", name, "busybox", "sleep", "1000"])?;
        ensure!(said.code == 125 && said.stderr.contains("No space left on device"), "{said:?}");
        ensure!(said.stderr.len() < 4096, "{} bytes of error", said.stderr.len());
    }
    // Those that run go on, and can be ended.
    let said = scene.rctl(&["exec", "before", "true"])?;
    ensure!(said.code != 0 && said.stderr.contains("No space left on device"), "{said:?}");
    ensure!(lines(&["tasks", "ls", "--quiet"])? == 1);
    scene.ok(&["kill", "before"])?;
    ensure!(scene.ok(&["wait", "before"])? == "137\n");
    std::fs::remove_file(&filler)?;
    // What was made before there was no room, docker keeps, too: it can be started, or removed.
    for name in ["one", "two"] {
        scene.rctl(&["rm", "--force", name])?;
        scene.ok(&["run", "-d", "--name", name, "busybox", "sleep", "1000"])?;
    }
    scene.ok(&["rm", "--force", "before", "one", "two"])?;
    let began = Instant::now();
    while lines(&["snapshots", "ls"])? != snapshots - 1 {
        ensure!(began.elapsed() < PATIENCE, "{}", scene.ok(&["snapshots", "ls"])?);
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn full(scene: &mut Scene, lib: &Path) -> Result<()> {
    scene.start_daemon()?;
    let noise: Vec<u8> =
        (0..16u64 << 20).map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect();
    // The first does not fit as a blob, the second not unpacked.
    let large = Image::of_tars(&[tar(&[Entry::file("large", &[&noise[..], &noise[..]].concat())])]);
    let mut large = large;
    let plain = tar(&[Entry::file("large", &[&noise[..], &noise[..]].concat())]);
    large.layers[0] = Blob::new("application/vnd.oci.image.layer.v1.tar", plain);
    let zeros = Image::of_tars(&[
        tar(&[Entry::file("small", b"x")]),
        tar(&[Entry::file("zeros", &vec![1; 64 << 20])]),
    ]);
    ensure!(gzip(&[0; 1024]).len() < 1024);
    for (what, image) in [("a blob", &large), ("an unpacked layer", &zeros)] {
        let registry = Registry::start(image, |_| None)?;
        let pulled = scene.rctl(&["pull", &registry.name()])?;
        refused(scene, what, &pulled, "No space left on device")?;
        refused(scene, what, &load(scene, &image.archive("x:1"))?, "No space left on device")?;
    }
    sh::run(std::process::Command::new("mount").args(["-o", "remount,size=400m"]).arg(lib))?;
    for image in [&large, &zeros] {
        let registry = Registry::start(image, |_| None)?;
        scene.ok(&["pull", &registry.name()])?;
    }
    Ok(())
}
