//! One worker with containers of its own: does something to one of them, and looks whether that became of it which the model says.

use std::collections::VecDeque;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::dice::Dice;
use crate::hunt::hunt;
use crate::model::{State, VERBS, Verb};
use crate::world::World;

/// What the containers run: they end with 3 when they are asked to.
const PROGRAM: &str = "trap 'exit 3' TERM; echo ready; while :; do sleep 1 & wait $!; done";
/// How much of a container's story is told when it goes wrong.
const STORY: usize = 30;
/// One in so many verbs that call executors is done while these are killed.
const HUNTS: u64 = 24;

/// A container and what is known of it.
pub struct Box {
    name: String,
    state: State,
    auto_remove: bool,
    story: VecDeque<String>,
}

/// Who works on some containers.
pub struct Worker<'a> {
    world: &'a World,
    dice: Dice,
    boxes: Vec<Box>,
    /// What was done.
    pub done: u64,
}

impl<'a> Worker<'a> {
    /// Works on `count` containers whose names begin with `name`.
    pub fn new(world: &'a World, dice: Dice, name: &str, count: usize) -> Worker<'a> {
        let boxes = (0..count).map(|number| Box {
            name: format!("{name}-{number}"),
            state: State::Absent,
            auto_remove: false,
            story: VecDeque::new(),
        });
        Worker { world, dice, boxes: boxes.collect(), done: 0 }
    }

    /// Works until it is told to rest.
    pub fn work(&mut self) {
        while !self.world.is_over() {
            let index = self.dice.below(self.boxes.len() as u64) as usize;
            let verb = *self.dice.one(VERBS);
            if !verb.fits(self.boxes[index].state) {
                continue;
            }
            self.done += 1;
            if let Err(error) = self.step(index, verb) {
                let subject = &self.boxes[index];
                let story: Vec<&str> = subject.story.iter().map(String::as_str).collect();
                self.world.complain(format!(
                    "{}: {error:#}\nits story:\n  {}",
                    subject.name,
                    story.join("\n  ")
                ));
                return;
            }
        }
    }

    /// Removes what is there, and says so only if that does not work.
    pub fn clear(&mut self) -> Result<()> {
        for subject in &mut self.boxes {
            remove(self.world, &subject.name)?;
            subject.state = State::Absent;
        }
        Ok(())
    }

    fn step(&mut self, index: usize, verb: Verb) -> Result<()> {
        let before = self.boxes[index].state;
        let expected = verb.of(before);
        let hunted = verb.calls_executor() && before != State::Absent && self.dice.below(HUNTS) == 0;
        if hunted && self.hunted(index, verb)? {
            return Ok(());
        }
        let cut = self.act(index, verb, expected)?;
        let subject = &mut self.boxes[index];
        if matches!(verb, Verb::Create | Verb::Run | Verb::RunRm) && before == State::Absent {
            subject.auto_remove = verb == Verb::RunRm;
        }
        let auto_remove = subject.auto_remove;
        // One that is removed at its end is gone then.
        let seen_as = |state: State| match state {
            State::Exited(_) if auto_remove => State::Absent,
            other => other,
        };
        let allowed: Vec<State> = match cut {
            true => verb.cut(before).into_iter().flat_map(|state| [state, seen_as(state)]).collect(),
            false => vec![seen_as(expected.unwrap_or(before))],
        };
        let name = subject.name.clone();
        let (mut found, mut seen) = (before, String::new());
        // A signal takes its time, and so does a removal that follows an end.
        self.world
            .until(&format!("{verb:?} of {before:?}: one of {allowed:?}"), || {
                let now = look(self.world, &name)?;
                seen = format!("{now:?}");
                found = now.unwrap_or(found);
                Ok(now.is_some_and(|now| allowed.contains(&now)))
            })
            .with_context(|| format!("it is {seen}"))?;
        self.boxes[index].state = found;
        self.tell(index, format!("{verb:?} of {before:?}{}: {found:?}", if cut { ", cut" } else { "" }));
        if cut && verb.lingers() {
            remove(self.world, &name)?;
            self.boxes[index].state = State::Absent;
            self.tell(index, "removed, to be certain".to_owned());
        }
        Ok(())
    }

    /// Does it while somebody kills executors. One that was killed may have come as far as it liked: what must be true is that the container
    /// comes to rest in one of its states, and can be removed. False if there is no such container any more.
    fn hunted(&mut self, index: usize, verb: Verb) -> Result<bool> {
        let name = self.boxes[index].name.clone();
        let inspected = self.world.certain(&["container", "inspect", "--format", "{{.Id}}", &name])?;
        let (id, over, killed) = (inspected.stdout.trim(), AtomicBool::new(false), AtomicU32::new(0));
        if inspected.code != 0 {
            return Ok(false);
        }
        let args = arguments(verb, &name);
        let call = std::thread::scope(|scope| {
            scope.spawn(|| hunt(id, &over, &killed));
            let call = self.world.rctl(&args);
            over.store(true, Ordering::SeqCst);
            call
        })?;
        let met = killed.load(Ordering::SeqCst) > 0;
        let mut found = None;
        self.world.until(&format!("{verb:?}, hunted: a state of rest"), || {
            found = look(self.world, &name)?;
            Ok(found.is_some())
        })?;
        let gone = verb == Verb::RmForce && !call.cut && call.outcome.code == 0;
        ensure!(!gone || found == Some(State::Absent), "it was removed, and is {found:?}");
        self.tell(index, format!("{verb:?}, executor killed: {met}, {:?}: {found:?}", call.outcome.stderr));
        remove(self.world, &name)?;
        self.boxes[index].state = State::Absent;
        self.tell(index, "removed, to be certain".to_owned());
        Ok(true)
    }

    fn tell(&mut self, index: usize, text: String) {
        let story = &mut self.boxes[index].story;
        story.push_back(text);
        if story.len() > STORY {
            story.pop_front();
        }
    }

    /// Does it; says whether the daemon was killed meanwhile.
    fn act(&mut self, index: usize, verb: Verb, expected: Option<State>) -> Result<bool> {
        let name = self.boxes[index].name.clone();
        let name = name.as_str();
        match verb {
            Verb::ShimKill => {
                if let Some(shim) = shim_of(self.world, name)? {
                    signal("KILL", shim)?;
                }
                return Ok(false);
            }
            Verb::ShimHang => return self.hang(name),
            Verb::Race => return self.race(name),
            _ => {}
        }
        if matches!(verb, Verb::Term | Verb::Stop | Verb::Restart | Verb::Pause) {
            // One that is frozen before it has one never gets it.
            self.world.until("a handler for the signal", || Ok(handles(self.world, name)? != Some(false)))?;
        }
        let args = arguments(verb, name);
        let call = self.world.rctl(&args)?;
        let (outcome, cut) = (call.outcome, call.cut);
        if cut {
            return Ok(true);
        }
        match expected {
            Some(_) => ensure!(outcome.code == 0, "{verb:?} failed: {outcome:?}"),
            None => ensure!(outcome.code != 0, "{verb:?} was not refused: {outcome:?}"),
        }
        if verb == Verb::Exec && expected.is_some() {
            ensure!(outcome.stdout == "here\n", "{outcome:?}");
        }
        Ok(false)
    }

    /// The shim does not answer for a moment; meanwhile others are served.
    fn hang(&mut self, name: &str) -> Result<bool> {
        let Some(shim) = shim_of(self.world, name)? else { return Ok(true) };
        signal("STOP", shim)?;
        let asked = self.world.rctl(&["ps", "--all", "--quiet"]);
        std::thread::sleep(Duration::from_millis(self.dice.below(1500)));
        signal("CONT", shim)?;
        let asked = asked?;
        ensure!(asked.cut || asked.outcome.code == 0, "ps beside a shim that hangs: {:?}", asked.outcome);
        Ok(false)
    }

    /// Somebody else does something at the same time, which may or may not work any more. It is removed all the same.
    fn race(&mut self, name: &str) -> Result<bool> {
        let other = *self.dice.one(&[Verb::Start, Verb::Stop, Verb::Kill, Verb::Exec, Verb::Rm, Verb::Pause]);
        let pause = Duration::from_millis(self.dice.below(60));
        let world = self.world;
        let (removed, beside) = std::thread::scope(|scope| {
            let beside = scope.spawn(|| world.rctl(&arguments(other, name)));
            std::thread::sleep(pause);
            (world.rctl(&arguments(Verb::Race, name)), beside.join())
        });
        let (removed, beside) = (removed?, beside.map_err(|_| anyhow::anyhow!("a thread panicked"))??);
        let outcome = &removed.outcome;
        let is_gone = outcome.code == 0 || outcome.stderr.contains("No such container");
        ensure!(removed.cut || is_gone, "beside {other:?}, which said {:?}: {outcome:?}", beside.outcome);
        Ok(removed.cut || beside.cut)
    }
}

/// What rctl is told.
fn arguments(verb: Verb, name: &str) -> Vec<&str> {
    match verb {
        Verb::Create => vec!["create", "--name", name, "busybox", "sh", "-c", PROGRAM],
        Verb::Run => vec!["run", "-d", "--name", name, "busybox", "sh", "-c", PROGRAM],
        Verb::RunRm => vec!["run", "-d", "--rm", "--name", name, "busybox", "sh", "-c", PROGRAM],
        Verb::Start => vec!["start", name],
        // Long enough for a machine that has much to do.
        Verb::Stop => vec!["stop", "--time", "60", name],
        Verb::Restart => vec!["restart", "--time", "60", name],
        Verb::Kill => vec!["kill", name],
        Verb::Term => vec!["kill", "--signal", "TERM", name],
        Verb::Pause => vec!["pause", name],
        Verb::Unpause => vec!["unpause", name],
        Verb::Exec => vec!["exec", name, "echo", "here"],
        Verb::Logs => vec!["logs", name],
        Verb::Top => vec!["top", name],
        Verb::Rm => vec!["rm", name],
        Verb::RmForce | Verb::Race => vec!["rm", "--force", name],
        // Not verbs of rctl.
        Verb::ShimKill | Verb::ShimHang => Vec::new(),
    }
}

fn remove(world: &World, name: &str) -> Result<()> {
    let outcome = world.certain(&["rm", "--force", name])?;
    ensure!(outcome.code == 0 || outcome.stderr.contains("No such container"), "{outcome:?}");
    Ok(())
}

/// How a container fares; nothing while it is not known.
fn look(world: &World, name: &str) -> Result<Option<State>> {
    let format = "{{.State.Status}} {{.State.ExitCode}} {{.State.Error}}";
    let outcome = world.certain(&["container", "inspect", "--format", format, name])?;
    if outcome.code != 0 {
        ensure!(outcome.stderr.to_lowercase().contains("no such container"), "{outcome:?}");
        return Ok(Some(State::Absent));
    }
    let mut words = outcome.stdout.split_whitespace();
    match (words.next(), words.next()) {
        (Some("created"), _) => Ok(Some(State::Created)),
        (Some("running"), _) => Ok(Some(State::Running)),
        (Some("paused"), _) => Ok(Some(State::Paused)),
        (Some("exited"), Some(code)) => Ok(Some(State::Exited(code.parse()?))),
        // Its shim hung when it was asked, or is being looked for: what it is will be known.
        (Some("dead"), _) => Ok(None),
        _ => bail!("{outcome:?}"),
    }
}

/// The shim of a container that runs: the parent of its first process.
pub fn shim_of(world: &World, name: &str) -> Result<Option<u64>> {
    let outcome = world.certain(&["container", "inspect", "--format", "{{.State.Pid}} {{.Id}}", name])?;
    let mut words = outcome.stdout.split_whitespace();
    let (Some(pid), Some(id)) = (words.next(), words.next()) else { return Ok(None) };
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let Some(parent) = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1)) else {
        return Ok(None);
    };
    let line = std::fs::read_to_string(format!("/proc/{parent}/cmdline")).unwrap_or_default();
    if !(line.contains("containerd-shim-runtimed-v2") && line.contains(id)) {
        return Ok(None);
    }
    Ok(parent.parse().ok())
}

/// Has its first process come as far as to have a handler for SIGTERM? Without one the kernel lets the signal go. Nothing if it does not run.
fn handles(world: &World, name: &str) -> Result<Option<bool>> {
    let outcome = world.certain(&["container", "inspect", "--format", "{{.State.Pid}}", name])?;
    let status = std::fs::read_to_string(format!("/proc/{}/status", outcome.stdout.trim()));
    let caught = status.ok().and_then(|status| {
        let line = status.lines().find_map(|line| line.strip_prefix("SigCgt:"))?.trim().to_owned();
        u64::from_str_radix(&line, 16).ok()
    });
    Ok(caught.map(|caught| caught & (1 << 14) != 0))
}

/// Sends a signal to a process that may have ended.
pub fn signal(name: &str, pid: u64) -> Result<()> {
    ensure!(pid > 1);
    // It may have ended this moment.
    Command::new("kill").args(["-s", name, &pid.to_string()]).output()?;
    Ok(())
}
