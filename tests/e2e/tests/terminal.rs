//! A person at a terminal, with containers on it.

use anyhow::{Result, ensure};
use e2e::{Terminal, scene};
use harness::Scene;

const PROMPT: &str = "/ # ";
/// docker's detach keys.
const DETACH: &str = "\x10\x11";

fn rctl(scene: &Scene, args: &[&str]) -> Result<Terminal> {
    Terminal::start(&scene.rctl_command(args))
}

#[test]
fn a_shell_is_at_home_on_a_terminal() -> Result<()> {
    let scene = scene()?;
    let mut terminal = rctl(&scene, &["run", "--rm", "-it", "busybox", "sh"])?;
    terminal.expect(PROMPT)?;
    ensure!(terminal.is_raw()?, "the terminal shows keys a second time");
    terminal.type_in("echo $((6 * 7))\r")?;
    terminal.expect("echo $((6 * 7))")?;
    terminal.expect("42\r\n")?;
    terminal.type_in("stty size\r")?;
    terminal.expect("\n24 80\r\n")?;
    terminal.resize(132, 50)?;
    terminal.type_in("until [ \"$(stty size)\" = '50 132' ]; do sleep 0.01; done; echo res''ized\r")?;
    terminal.expect("resized\r\n")?;
    terminal.type_in("sh -c 'echo sleep\"\"ing; exec sleep 1000'\r")?;
    terminal.expect("sleeping\r\n")?;
    terminal.type_in("\x03")?;
    terminal.expect(PROMPT)?;
    terminal.type_in("exit $(($? - 100))\r")?;
    ensure!(terminal.end()? == 30, "ctrl-c makes 130 of the sleep's code");
    scene.finish()
}

#[test]
fn a_session_can_be_left_and_entered_again() -> Result<()> {
    let scene = scene()?;
    let mut first = rctl(&scene, &["run", "-it", "--name", "box", "busybox", "sh"])?;
    first.expect(PROMPT)?;
    first.type_in("kept=here; echo no''ted\r")?;
    first.expect("noted")?;
    first.type_in(DETACH)?;
    ensure!(first.end()? == 0);
    ensure!(scene.ok(&["ps"])?.contains("Up "), "it ended with the session");
    let mut second = rctl(&scene, &["attach", "box"])?;
    second.expect(PROMPT)?;
    second.type_in("echo $kept\r")?;
    second.expect("\nhere\r\n")?;
    // Two persons see the same, and either may type.
    let mut third = rctl(&scene, &["attach", "--detach-keys", "ctrl-a,b", "box"])?;
    third.type_in("echo to all\r")?;
    third.expect("\nto all\r\n")?;
    second.expect("\nto all\r\n")?;
    third.type_in("\x01b")?;
    ensure!(third.end()? == 0);
    second.type_in("exit 3\r")?;
    ensure!(second.end()? == 3);
    ensure!(scene.ok(&["logs", "box"])?.contains("to all"));
    scene.ok(&["rm", "box"])?;
    scene.finish()
}

#[test]
fn exec_gives_a_shell_beside_the_first_process() -> Result<()> {
    let scene = scene()?;
    scene.ok(&["run", "-d", "--name", "box", "busybox", "sleep", "1000"])?;
    let mut terminal = rctl(&scene, &["exec", "-it", "-e", "WHO=me", "box", "sh"])?;
    terminal.expect(PROMPT)?;
    terminal.type_in("echo $WHO; stty size\r")?;
    terminal.expect("\nme\r\n24 80\r\n")?;
    terminal.resize(100, 30)?;
    terminal.type_in("until [ \"$(stty size)\" = '30 100' ]; do sleep 0.01; done; echo res''ized\r")?;
    terminal.expect("resized\r\n")?;
    terminal.type_in("exit 4\r")?;
    ensure!(terminal.end()? == 4);
    scene.ok(&["rm", "--force", "box"])?;
    scene.finish()
}

#[test]
fn a_session_that_is_ended_leaves_the_terminal_as_it_was() -> Result<()> {
    let scene = scene()?;
    scene.ok(&["run", "-d", "--name", "box", "busybox", "sleep", "1000"])?;
    let mut terminal = rctl(&scene, &["exec", "-it", "box", "sh"])?;
    terminal.expect(PROMPT)?;
    ensure!(terminal.is_raw()?);
    terminal.signal("TERM")?;
    ensure!(terminal.end()? == 143);
    scene.ok(&["rm", "--force", "box"])?;
    // Signals of a run are its container's.
    let script = "trap 'echo ended; exit 8' TERM; echo ready; while :; do sleep 0.02; done";
    let mut terminal = rctl(&scene, &["run", "--rm", "-it", "busybox", "sh", "-c", script])?;
    terminal.expect("ready")?;
    terminal.signal("TERM")?;
    terminal.expect("ended")?;
    ensure!(terminal.end()? == 8);
    scene.finish()
}

#[test]
fn ctrl_c_reaches_a_container_without_a_terminal() -> Result<()> {
    let scene = scene()?;
    let script = "trap 'echo interrupted; exit 9' INT; echo ready; while :; do sleep 0.02; done";
    let mut terminal = rctl(&scene, &["run", "--rm", "busybox", "sh", "-c", script])?;
    terminal.expect("ready")?;
    ensure!(!terminal.is_raw()?);
    terminal.type_in("\x03")?;
    terminal.expect("interrupted")?;
    ensure!(terminal.end()? == 9);
    scene.finish()
}

#[test]
fn the_end_of_input_ends_a_reader() -> Result<()> {
    let scene = scene()?;
    let mut terminal = rctl(&scene, &["run", "--rm", "-i", "busybox", "cat"])?;
    terminal.type_in("a line\n")?;
    // Once as the terminal shows it, once as cat does.
    terminal.expect("a line\r\n")?;
    terminal.expect("a line\r\n")?;
    terminal.type_in("\x04")?;
    ensure!(terminal.end()? == 0);
    scene.finish()
}

#[test]
fn a_terminal_outlives_the_daemon_and_its_container_too() -> Result<()> {
    let mut scene = scene()?;
    let mut before = rctl(&scene, &["run", "-it", "--name", "box", "busybox", "sh"])?;
    before.expect(PROMPT)?;
    before.type_in("kept=here; echo no''ted\r")?;
    before.expect("noted")?;
    scene.kill_daemon()?;
    ensure!(before.end()? != 0, "a session that broke off is no success");
    scene.start_daemon()?;
    let mut after = rctl(&scene, &["attach", "box"])?;
    after.type_in("echo $kept; exit 5\r")?;
    after.expect("\nhere\r\n")?;
    ensure!(after.end()? == 5);
    scene.ok(&["rm", "box"])?;
    scene.finish()
}

#[test]
fn bars_are_for_terminals_and_lines_for_files() -> Result<()> {
    let scene = scene()?;
    let archive = scene.root().join("saved.tar").display().to_string();
    let saved = scene.rctl(&["save", "--output", &archive, "busybox"])?;
    ensure!(saved.code == 0 && saved.stderr.starts_with("Saved ") && saved.stdout.is_empty(), "{saved:?}");
    let loaded = scene.rctl(&["load", "--input", &archive])?;
    ensure!(loaded.stdout == "Loaded image: busybox:latest\n", "{loaded:?}");
    ensure!(!loaded.stderr.contains('\u{1b}'), "{loaded:?}");
    let mut terminal = rctl(&scene, &["load", "--input", &archive])?;
    terminal.expect("\u{1b}[")?;
    terminal.expect("Loaded image: busybox:latest")?;
    ensure!(terminal.end()? == 0);
    let mut refused = rctl(&scene, &["save", "busybox"])?;
    refused.expect("cowardly refusing to save to a terminal")?;
    ensure!(refused.end()? != 0);
    scene.finish()
}
