//! Registries that stall, break, lie, and lead elsewhere.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use harness::hostile::{Asked, Entry, How, Image, Registry, Reply, digest};

use crate::{PATIENCE, SECRET, one, refused, scene};

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

/// Asks for a token of its own.
fn bearer(asked: &Asked) -> Reply {
    let host = asked.headers.get("host").cloned().unwrap_or_default();
    let value = format!("Bearer realm=\"http://{host}/token\",service=\"s\"");
    Reply::new(401, b"").with("WWW-Authenticate", &value)
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
        trick(
            "silence for a manifest",
            "no answer for 1s",
            manifests(|| Reply::new(200, b"").sent(How::Silent)),
        ),
        trick("silence in place of a token", "no answer for 1s", |asked| {
            Some(match asked.path.starts_with("/token") {
                true => Reply::new(200, b"").sent(How::Silent),
                false => bearer(asked),
            })
        }),
        trick("a token that is of no use", "denied", |asked| {
            let token = format!("{{\"token\":\"{SECRET}\"}}");
            Some(match asked.path.starts_with("/token") {
                true => Reply::new(200, token.as_bytes()),
                false => bearer(asked),
            })
        }),
        trick("a signed place that refuses", "403", |asked| {
            if asked.path.starts_with("/signed") {
                return Some(Reply::new(403, b"{}"));
            }
            asked.is_blob().then(|| Reply::redirect(&format!("/signed?X-Amz-Signature={SECRET}")))
        }),
        trick("a signed place that breaks off", "the connection broke", |asked| {
            if asked.path.starts_with("/signed") {
                return Some(Reply::new(200, &[7; 64]).sent(How::Cut(8)));
            }
            asked.is_blob().then(|| Reply::redirect(&format!("/signed?X-Amz-Signature={SECRET}")))
        }),
        trick("a manifest nested 10,000 deep", "schemaVersion", |asked| {
            let deep = format!("{}1{}", "{\"a\":".repeat(10_000), "}".repeat(10_000));
            asked.is_manifest().then(|| {
                Reply::new(200, deep.as_bytes())
                    .with("Content-Type", "application/vnd.oci.image.manifest.v1+json")
                    .with("Docker-Content-Digest", &digest(deep.as_bytes()))
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
    // Nothing that is secret is logged, however much is.
    let scene = scene(&format!("{HASTY}[log]\nlevel = \"trace\"\n"))?;
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
    ensure!(
        log.contains("level=debug") || log.contains("level=trace"),
        "the log is not at its finest:\n{log}"
    );
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
