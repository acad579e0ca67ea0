//! One container that lives as long as the soak does, and who uses it all the time: its process stays the same whatever happens to the daemon,
//! and its shim needs no more at the end than it did at first.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::Use;

use crate::dice::Dice;
use crate::worker::shim_of;
use crate::world::{World, is_late};

/// Its name.
pub const NAME: &str = "keeper";
/// It says what it is told.
const PROGRAM: &str = "echo ready; while read line; do echo \"said $line\"; done";

/// How long it is left alone.
const REST: Duration = Duration::from_secs(2);

/// Who uses it.
pub struct Keeper<'a> {
    world: &'a World,
    dice: Dice,
    pid: String,
    shim: u64,
    /// What was done.
    pub done: u64,
}

impl<'a> Keeper<'a> {
    /// Starts it.
    pub fn new(world: &'a World, dice: Dice) -> Result<Keeper<'a>> {
        let args = ["run", "--detach", "--interactive", "--name", NAME, "busybox", "sh", "-c", PROGRAM];
        world.certain(&args)?.ok()?;
        let shim = shim_of(world, NAME)?.context("the keeper has a shim")?;
        Ok(Keeper { world, dice, pid: pid(world)?, shim, done: 0 })
    }

    /// What its shim has once what clients have left in it has ended.
    pub fn rested(&self) -> Result<Use> {
        let look = || Use::of(u32::try_from(self.shim)?);
        let mut used = look()?;
        let begun = Instant::now();
        while begun.elapsed() < REST {
            std::thread::sleep(Duration::from_millis(50));
            let now = look()?;
            used = Use { descriptors: used.descriptors.min(now.descriptors), ..now };
        }
        Ok(used)
    }

    /// Works until it is told to rest.
    pub fn work(&mut self) {
        while !self.world.is_over() {
            self.done += 1;
            if let Err(error) = self.step() {
                self.world.complain(format!("the keeper: {error:#}"));
                return;
            }
        }
    }

    /// Ends it.
    pub fn end(self) -> Result<()> {
        self.world.certain(&["rm", "--force", NAME])?.ok().map(drop)
    }

    fn step(&mut self) -> Result<()> {
        match self.dice.below(8) {
            0 | 1 => self.says(&["exec", NAME, "echo", "here"], |out| out == "here\n")?,
            2 => self.says(&["logs", NAME], |out| out.starts_with("ready\n"))?,
            3 => self.says(&["top", NAME], |out| out.contains("while read line"))?,
            4 => self.says(&["stats", "--no-stream", NAME], |out| out.contains(NAME))?,
            5 => self.leave(&["logs", "--follow", NAME])?,
            6 => self.leave(&["exec", NAME, "sleep", "0.2"])?,
            _ => self.talk()?,
        }
        let now = pid(self.world)?;
        ensure!(now == self.pid, "its process was {}, and is {now}", self.pid);
        Ok(())
    }

    fn says(&self, args: &[&str], right: impl Fn(&str) -> bool) -> Result<()> {
        let call = self.world.rctl(args)?;
        ensure!(call.cut || (call.outcome.code == 0 && right(&call.outcome.stdout)), "{:?}", call.outcome);
        Ok(())
    }

    /// A client that vanishes in the middle.
    fn leave(&mut self, args: &[&str]) -> Result<()> {
        let mut client = self.client(args)?;
        std::thread::sleep(Duration::from_millis(self.dice.below(300)));
        gone(&mut client)
    }

    /// Attaches, says something, hears it said, and vanishes.
    fn talk(&mut self) -> Result<()> {
        let (epoch, word) = (self.world.up()?, format!("word-{}", self.done));
        let mut client = self.client(&["attach", NAME])?;
        let mut input = client.stdin.take().context("a pipe")?;
        // A client whose daemon was killed may be gone.
        let told = writeln!(input, "{word}");
        let output = BufReader::new(client.stdout.take().context("a pipe")?);
        let heard = output.lines().map_while(Result::ok).any(|line| line.ends_with(&format!("said {word}")));
        gone(&mut client)?;
        let mut said = String::new();
        client.stderr.take().context("a pipe")?.read_to_string(&mut said)?;
        let cut = self.world.epoch() != epoch || is_late(&said);
        ensure!(cut || (told.is_ok() && heard), "it did not say {word}: {said}");
        Ok(())
    }

    fn client(&self, args: &[&str]) -> Result<Child> {
        self.world.up()?;
        let mut command: Command = self.world.scene().rctl_command(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().context("start rctl")
    }
}

fn gone(client: &mut Child) -> Result<()> {
    // It may have ended by itself.
    let _ = client.kill();
    client.wait().context("wait for rctl").map(drop)
}

/// Its first process.
fn pid(world: &World) -> Result<String> {
    let outcome = world.certain(&["container", "inspect", "--format", "{{.State.Pid}}", NAME])?;
    Ok(outcome.ok()?.trim().to_owned())
}
