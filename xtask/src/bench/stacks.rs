//! Both daemons, each with the same image, side by side.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use harness::peers::Containerd;
use harness::{Scene, image, sh};

use super::timing::{self, Contender};
use super::{COMMAND, IMAGE, report};

/// This project's daemon and Debian's containerd, both with the image.
pub struct Stacks {
    /// Ours.
    pub ours: Scene,
    /// Debian's.
    pub peer: Containerd,
}

impl Stacks {
    /// Starts both and gives them the image.
    pub fn start(programs: &Path) -> Result<Stacks> {
        let mut ours = Scene::with_programs(programs)?;
        ours.start_daemon()?;
        let scratch = ours.root().join("scratch");
        std::fs::create_dir(&scratch)?;
        let archive = image::busybox_archive(&scratch)?.display().to_string();
        let peer = Containerd::start(&scratch, programs)?;
        let stacks = Stacks { ours, peer };
        stacks.ours.ok(&["load", "--quiet", "--input", &archive])?;
        sh::read(&mut stacks.peer.ctr(&["images", "import", &archive]))
            .context("give containerd the image")?;
        Ok(stacks)
    }

    /// `ctr` on ours.
    pub fn ctr(&self, args: &[&str]) -> Command {
        self.ours.ctr_command(&PathBuf::from("ctr"), args)
    }

    /// Times containers from the command to the prompt, and makes the table.
    pub fn section(&self, rounds: usize) -> Result<String> {
        let run = ["run", "--rm", IMAGE, "bench", COMMAND];
        let rctl = ["run", "--rm", "--net", "none", IMAGE, COMMAND];
        let contender = |name: &str, command: &dyn Fn() -> Command| {
            let mut command = command();
            Contender { name: name.to_owned(), once: Box::new(move || timing::silently(&mut command)) }
        };
        let samples = timing::in_turns(
            rounds,
            &mut [
                contender("`rctl run --rm`, runtimed", &|| self.ours.rctl_command(&rctl)),
                contender("`ctr run --rm`, runtimed", &|| self.ctr(&run)),
                contender("`ctr run --rm`, containerd", &|| self.peer.ctr(&run)),
            ],
        )?;
        let [rctl, ctr, peer] = samples.as_slice() else { anyhow::bail!("three were timed") };
        Ok(report::times("A container from command to prompt", &[(rctl, peer), (ctr, peer)]))
    }

    /// Ends both; an error says what stayed.
    pub fn finish(self) -> Result<()> {
        self.peer.finish()?;
        self.ours.finish()
    }
}
