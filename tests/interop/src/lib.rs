//! What the tests with real peers and clients share: see `tests/`.

pub mod docker;
pub mod layers;
pub mod podman;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use harness::{Outcome, Scene};

/// How long to wait for what no program can be asked to wait for.
const PATIENCE: Duration = Duration::from_secs(30);

/// A daemon and a folder for what a test makes.
pub struct Stage {
    /// The daemon.
    pub scene: Scene,
    /// The folder.
    pub scratch: PathBuf,
}

impl Stage {
    /// Starts the daemon and makes the folder.
    pub fn new() -> Result<Stage> {
        let scene = Scene::start()?;
        let scratch = scene.root().join("scratch");
        std::fs::create_dir(&scratch)?;
        Ok(Stage { scene, scratch })
    }

    /// Runs Debian's ctr to success.
    pub fn ctr(&self, args: &[&str]) -> Result<String> {
        self.scene.ctr(Path::new("ctr"), args)
    }

    /// Runs Debian's ctr to its end.
    pub fn ctr_outcome(&self, args: &[&str]) -> Result<Outcome> {
        Outcome::of(&mut self.scene.ctr_command(Path::new("ctr"), args), b"")
    }

    /// A path in the folder.
    pub fn file(&self, name: &str) -> String {
        self.scratch.join(name).display().to_string()
    }
}

/// Runs a program to success and returns what it said.
pub fn run(program: &str, args: &[&str]) -> Result<String> {
    harness::sh::read(Command::new(program).args(args))
}

/// Runs a command line on a terminal of its own, with Debian's `script`. The CRs that terminals put before each LF are
/// left out.
pub fn on_a_terminal(command: &Command) -> Result<Outcome> {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let line: Vec<String> = words.map(|word| quoted(&word.to_string_lossy())).collect();
    let mut script = Command::new("script");
    script.args(["-qec", &line.join(" "), "/dev/null"]);
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => script.env(name, value),
            None => script.env_remove(name),
        };
    }
    // `script` goes on after the end of a standard input that is no terminal.
    let mut outcome = Outcome::of(script.stdin(std::process::Stdio::null()), b"")?;
    outcome.stdout.retain(|character| character != '\r');
    Ok(outcome)
}

/// Asks until the answer is yes.
pub fn until(what: &str, mut yes: impl FnMut() -> Result<bool>) -> Result<()> {
    let began = Instant::now();
    while !yes()? {
        if began.elapsed() > PATIENCE {
            bail!("it never came to this: {what}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// A path as text.
pub fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not text", path.display()))
}

fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}
