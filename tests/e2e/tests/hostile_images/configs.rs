//! Images whose config or whose files mean harm to whoever makes a container of them.

use anyhow::{Result, ensure};
use harness::hostile::{Entry, Image};
use serde_json::json;

use crate::{load, nothing_is_left, one, scene};

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

/// An image that runs as `app`, with this in the place of /etc/passwd.
fn image_of(passwd: Entry) -> Image {
    Image { config: json!({ "Cmd": ["/x"], "User": "app" }), ..one(vec![passwd]) }
}

/// Who a container runs as is looked up in the image's own files, whatever those are, and nothing else is opened for that.
#[test]
fn accounts_that_mean_harm_make_no_container() -> Result<()> {
    let scene = scene("")?;
    let outside = scene.root().join("passwd");
    std::fs::write(&outside, "app:x:0:0::/:/bin/sh\n")?;
    let link = |to: &str| Entry::thing("etc/passwd", b'2', to);
    let away = outside.display().to_string();
    let large = [b"app:x:7:7::/:/x\n".to_vec(), vec![b'\n'; 5 << 20]].concat();
    for (number, (passwd, words)) in [
        (link(&away), "unable to find user app"),
        (link(&format!("{}{away}", "../".repeat(12))), "unable to find user app"),
        (link("passwd"), "open /etc/passwd of the image"),
        (link("/proc/self/fd/0"), "unable to find user app"),
        (Entry::thing("etc/passwd", b'6', ""), "/etc/passwd of the image is not a regular file"),
        (Entry::thing("etc/passwd", b'5', ""), "/etc/passwd of the image is not a regular file"),
        // It is not even opened: some devices do something then.
        (
            Entry { device: (1, 5), ..Entry::thing("etc/passwd", b'3', "") },
            "open /etc/passwd of the image: EACCES",
        ),
        (Entry::file("etc/passwd", &large), "more than 4194304"),
        (Entry::file("etc/passwd", b"app:x:4294967295:0::/:/x\n"), "unable to find user app"),
        (Entry::file("etc/passwd", b"app:x:0x0:0::/:/x\n\xff\0:::::\n"), "unable to find user app"),
    ]
    .into_iter()
    .enumerate()
    {
        // On one layer, and on several: they are mounted in different ways.
        for layers in [1, 2] {
            let mut image = image_of(passwd.clone());
            if layers == 2 {
                let base = one(vec![Entry::file("base", b"x")]);
                image.layers.insert(0, base.layers[0].clone());
                image.diff_ids.insert(0, base.diff_ids[0].clone());
            }
            let name = format!("accounts:{number}-{layers}");
            let loaded = load(&scene, &image.archive(&name))?;
            ensure!(loaded.code == 0, "{loaded:?}");
            let made = scene.rctl(&["create", &name])?;
            ensure!(made.code == 1 && made.stderr.contains(words), "{name}: not {words:?}: {made:?}");
            ensure!(made.stderr.len() < 4096, "{words}: {} bytes of error", made.stderr.len());
            ensure!(scene.ok(&["ps", "--all", "--quiet"])?.is_empty());
            scene.ok(&["rmi", &name])?;
        }
    }
    nothing_is_left(&scene, "odd accounts")?;
    scene.finish()
}

/// A root in which whatever a start touches leads out: it starts or it does not, and nothing out there is touched.
#[test]
fn roots_that_lead_out_lead_nowhere() -> Result<()> {
    let scene = scene("")?;
    let outside = scene.root().join("outside");
    std::fs::create_dir(&outside)?;
    std::fs::write(outside.join("kept"), "kept")?;
    let away = outside.display().to_string();
    let places = ["proc", "sys", "dev", "etc", "run", "work", "data"];
    for (number, place) in places.into_iter().enumerate() {
        let config = json!({ "Cmd": ["/x"], "WorkingDir": "/srv/new", "Volumes": { "/data/new": {} } });
        for to in [away.clone(), format!("{}{away}", "../".repeat(12))] {
            let image = Image { config: config.clone(), ..one(vec![Entry::thing(place, b'2', &to)]) };
            let name = format!("out:{number}");
            ensure!(load(&scene, &image.archive(&name))?.code == 0);
            let ran = scene.rctl(&["run", "--rm", &name])?;
            // There is no program in it, at the latest.
            ensure!((125..=127).contains(&ran.code) && !ran.stderr.is_empty(), "{place}: {ran:?}");
            let found: Vec<_> =
                std::fs::read_dir(&outside)?.flatten().map(|entry| entry.file_name()).collect();
            ensure!(found == ["kept"], "{place}: {found:?} is outside");
            ensure!(std::fs::read_to_string(outside.join("kept"))? == "kept", "{place}");
            ensure!(scene.ok(&["ps", "--all", "--quiet"])?.is_empty());
            scene.ok(&["rmi", &name])?;
        }
    }
    nothing_is_left(&scene, "roots that lead out")?;
    scene.finish()
}
