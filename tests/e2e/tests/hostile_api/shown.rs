//! What strangers wrote, on its way to a person: rctl's terminal, and the daemon's log.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use e2e::Terminal;
use harness::hostile::{Image, Registry, Reply};
use harness::{Scene, programs};
use prost_types::Any;
use proto_containerd::services::containers::container::Runtime;
use proto_containerd::services::containers::{Container, CreateContainerRequest, DeleteContainerRequest};

use crate::connect;

/// Clears a terminal, in three ways, and turns text around.
const HOSTILE: &str = "x\u{1b}[2J\u{9b}2J\u{1b}]0;title\u{7}\u{202e}\r";
const SECRET: &str = "hunter2-is-secret";

/// Is there anything in it that a terminal would obey?
fn commands(text: &str) -> Option<char> {
    text.chars().find(|c| (c.is_control() && !matches!(c, '\n' | '\t')) || *c == '\u{202e}')
}

fn harmless(what: &str, text: &str) -> Result<()> {
    ensure!(commands(text).is_none(), "{what} says {text:?}");
    Ok(())
}

#[tokio::test]
async fn names_labels_and_errors_command_no_terminal() -> Result<()> {
    let scene = Scene::start()?;
    let client = connect(&scene).await?;
    let spec = Any { type_url: HOSTILE.into(), value: HOSTILE.into() };
    let container = Container {
        id: "c1".into(),
        image: HOSTILE.into(),
        labels: BTreeMap::from([(HOSTILE.to_owned(), HOSTILE.to_owned())]),
        runtime: Some(Runtime { name: HOSTILE.into(), options: None }),
        spec: Some(spec),
        ..Container::default()
    };
    client.containers().create(CreateContainerRequest { container: Some(container) }).await?;
    let asked: [&[&str]; 9] = [
        &["ps", "--all"],
        &["ps", "--all", "--no-trunc", "--format", "{{.Image}} {{.Labels}} {{json .}}"],
        &["ps", "--all", "--format", "table {{.ID}}\t{{.Image}}"],
        &["inspect", "c1"],
        &["containers", "ls"],
        &["containers", "info", "c1"],
        &["inspect", HOSTILE],
        &["rm", HOSTILE],
        &["run", "--rm", HOSTILE],
    ];
    for args in asked {
        let said = scene.rctl(args)?;
        harmless(&format!("{args:?}"), &format!("{}{}", said.stdout, said.stderr))?;
        let mut terminal = Terminal::start(&scene.rctl_command(args))?;
        terminal.end()?;
        let shown = terminal.shown().replace("\r\n", "\n");
        harmless(&format!("{args:?} at a terminal"), &shown)?;
    }
    harmless("the daemon's log", &scene.log())?;
    client.containers().delete(DeleteContainerRequest { id: "c1".into() }).await?;
    scene.finish()
}

#[tokio::test]
async fn a_registrys_words_command_no_terminal() -> Result<()> {
    let scene = Scene::start()?;
    let body = r#"{"errors":[{"code":"DENIED","message":"x\u001b[2J\u009b2J\u202e\u0007 denied"}]}"#;
    let registry = Registry::start(&Image::of(&[]), move |_| Some(Reply::new(403, body.as_bytes())))?;
    let name = registry.name();
    let said = scene.rctl(&["pull", &name])?;
    ensure!(said.code == 1 && said.stderr.contains("denied"), "{said:?}");
    harmless("pull", &format!("{}{}", said.stdout, said.stderr))?;
    let mut terminal = Terminal::start(&scene.rctl_command(&["pull", &name]))?;
    terminal.expect("denied")?;
    terminal.end()?;
    // Progress moves the cursor itself; what the registry wrote is not among that.
    ensure!(
        !terminal.shown().contains("[2J\u{9b}") && !terminal.shown().contains("\u{1b}[2J"),
        "{:?}",
        terminal.shown()
    );
    harmless("the daemon's log", &scene.log())?;
    scene.finish()
}

#[test]
fn a_containers_output_comes_as_it_was_written() -> Result<()> {
    let scene = e2e::scene()?;
    let printed = scene.ok(&["run", "--name", "c1", "busybox", "printf", r"\033[31mred\007\r\n"])?;
    ensure!(printed == "\u{1b}[31mred\u{7}\r\n", "{printed:?}");
    ensure!(scene.ok(&["logs", "c1"])? == printed);
    scene.ok(&["rm", "c1"])?;
    scene.finish()
}

#[test]
fn an_environment_is_in_no_log() -> Result<()> {
    let mut scene = Scene::with_programs(&programs::folder()?)?;
    scene.configure("[log]\nlevel = \"trace\"\n");
    scene.start_daemon()?;
    e2e::load(&scene)?;
    let secret = format!("PASSWORD={SECRET}");
    scene.ok(&["run", "--detach", "--name", "c1", "-e", &secret, "busybox", "sleep", "1000"])?;
    scene.ok(&["exec", "-e", &secret, "c1", "true"])?;
    scene.rctl(&["exec", "-e", &secret, "c1", "no-such-program"])?;
    scene.rctl(&["run", "--rm", "-e", &secret, "busybox", "no-such-program"])?;
    scene.rctl(&["run", "--rm", "-e", &secret, "--memory", "1", "busybox", "true"])?;
    scene.ok(&["rm", "--force", "c1"])?;
    let log = scene.log();
    ensure!(
        log.contains("level=debug") || log.contains("level=trace"),
        "the log is not at its finest:\n{log}"
    );
    ensure!(!log.contains(SECRET), "the log has a secret:\n{log}");
    scene.finish()
}
