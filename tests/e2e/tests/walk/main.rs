//! A walk through everything that can die: each thing that people do is done with a fault armed at one of the marks that it passes; then the
//! daemon is started again where it died, and what was acknowledged must hold, the same must work now, and once all is removed nothing
//! may be left: no mount, process, cgroup, namespace, file, lease, record, snapshot, blob or ingest. docs/faults.md says how to walk further.

mod dice;
mod facts;
mod things;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use harness::Outcome;
use harness::points::{self, Point};

use dice::Dice;
use facts::Facts;
use things::{Harm, Thing};
use world::{PATIENCE, World};

/// How many kills a walk makes unless `RUNTIMED_WALK` says otherwise.
const KILLS: usize = 1000;
/// Worlds side by side: one waits for the kernel while the other works.
const WORKERS: usize = 2;
/// How long a fault behind an answer may take to happen.
const LATE: Duration = Duration::from_millis(250);
/// So many broken promises are enough to look into.
const ENOUGH: usize = 8;

/// Which marks a thing passes, and how often each.
type Passed = BTreeMap<String, u32>;

/// One round: a thing, and the fault in it.
#[derive(Debug, Clone)]
struct Round {
    thing: usize,
    point: String,
    action: &'static str,
    skip: u32,
    /// A second mark to die at, while the daemon comes back.
    then: Option<String>,
}

/// What all workers know.
struct Walk {
    points: BTreeMap<String, Point>,
    things: Vec<Thing>,
    /// What to do again and again, and where to die at it, instead of everything.
    only: Option<(usize, String)>,
    /// What to do at every mark of every thing once, instead of so many kills.
    everywhere: Option<&'static str>,
    target: usize,
    seed: u64,
    shared: Mutex<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Of each thing, what was seen so far.
    passed: Vec<Passed>,
    /// Marks that a starting daemon passes.
    starting: BTreeSet<String>,
    seen: BTreeSet<String>,
    /// Marks that nobody has died at yet, each with the things to try it with.
    untried: Vec<(usize, String)>,
    tried: BTreeSet<(usize, String)>,
    rounds: usize,
    missed: usize,
    kills: BTreeMap<String, usize>,
    failures: Vec<String>,
}

impl Shared {
    fn killed(&self) -> usize {
        self.kills.values().sum()
    }
}

#[test]
fn whatever_dies_nothing_acknowledged_is_lost() -> Result<()> {
    if !harness::needs("walk", &["skopeo", "umoci", "docker-registry", "tar", "umount"]) {
        return Ok(());
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let points: BTreeMap<_, _> =
        points::all(&root)?.into_iter().map(|point| (point.name.clone(), point)).collect();
    let number = |name: &str, default: u64| -> Result<u64> {
        match std::env::var(name) {
            Ok(text) => text.parse().with_context(|| format!("{name}={text} is no number")),
            Err(_) => Ok(default),
        }
    };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_nanos() as u64;
    let seed = number("RUNTIMED_WALK_SEED", now)?;
    let target = number("RUNTIMED_WALK", KILLS as u64)? as usize;
    println!("walk: {} marks, {target} kills, RUNTIMED_WALK_SEED={seed}", points.len());
    let things = things::all();
    let only =
        std::env::var("RUNTIMED_WALK_ONLY").ok().map(|text| only(&things, &points, &text)).transpose()?;
    let everywhere = std::env::var("RUNTIMED_WALK_EVERYWHERE").ok().map(|text| action(&text)).transpose()?;
    let shared = Shared { passed: vec![Passed::new(); things.len()], ..Shared::default() };
    let walk = Walk { points, things, only, everywhere, target, seed, shared: Mutex::new(shared) };
    let began = Instant::now();
    std::thread::scope(|threads| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|number| {
                threads.spawn({
                    let walk = &walk;
                    move || walk.worker(number)
                })
            })
            .collect();
        workers.into_iter().try_for_each(|worker| match worker.join() {
            Ok(result) => result,
            Err(_) => Err(anyhow::anyhow!("a worker panicked")),
        })
    })?;
    walk.report(began.elapsed())
}

/// `<thing> <mark>`.
fn only(things: &[Thing], points: &BTreeMap<String, Point>, text: &str) -> Result<(usize, String)> {
    let (thing, mark) = text.split_once(' ').with_context(|| format!("{text:?} is no thing and mark"))?;
    let index = things.iter().position(|known| known.name == thing);
    ensure!(points.contains_key(mark), "there is no mark {mark:?}");
    Ok((index.with_context(|| format!("there is no thing {thing:?}"))?, mark.to_owned()))
}

/// What can be done at a mark.
fn action(text: &str) -> Result<&'static str> {
    let known = ["kill", "error", "enospc", "eio", "delay:40"].into_iter().find(|known| *known == text);
    known.with_context(|| format!("{text:?} cannot be done at a mark"))
}

impl Walk {
    fn shared(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn worker(&self, number: usize) -> Result<()> {
        let mut dice = Dice::new(self.seed.wrapping_add(number as u64));
        let (mut world, mut before) = self.new_world(number).inspect_err(|error| {
            self.shared().failures.push(format!("{error:#}"));
        })?;
        // The first one's rehearsals say what there is to die at.
        while number > 0 && self.is_rehearsing() {
            std::thread::sleep(LATE);
        }
        while let Some(round) = self.next(&mut dice) {
            let began = Instant::now();
            let result = self.round(&mut world, &before, &round);
            if std::env::var_os("RUNTIMED_WALK_VERBOSE").is_some() {
                println!(
                    "{:>6.3} s {} {round:?}",
                    began.elapsed().as_secs_f32(),
                    self.things[round.thing].name
                );
            }
            if let Err(error) = result {
                let thing = self.things[round.thing].name;
                let log = world.scene.log();
                let from = log.lines().count().saturating_sub(25);
                let tail: String = log.lines().skip(from).map(|line| format!("\n    {line}")).collect();
                let text = format!("{thing}: {round:?}: {error:#}{tail}");
                println!("BROKEN {text}");
                self.shared().failures.push(text);
                // Without a daemon nobody could remove what is left.
                world.faults.disarm();
                if world.scene.daemon_ended()?.is_some() {
                    world.start()?;
                }
                drop(world);
                (world, before) = self.new_world(WORKERS)?;
            }
        }
        things::clear(&world)?;
        world.ok(&["rm", "--force", "bystander"])?;
        world.finish()
    }

    /// Is there a thing of which nobody knows yet what it passes?
    fn is_rehearsing(&self) -> bool {
        let shared = self.shared();
        shared.failures.is_empty() && shared.passed.iter().any(Passed::is_empty)
    }

    /// A world in which each thing was done once without a fault; the first worker's tell what marks they pass.
    fn new_world(&self, number: usize) -> Result<(World, Facts)> {
        let mut world = World::make()?;
        self.note(&mut world, None)?;
        for (index, thing) in self.things.iter().enumerate() {
            if number > 0 && index > 0 {
                break;
            }
            self.rehearse(&mut world, index).with_context(|| format!("{} without a fault", thing.name))?;
        }
        let mut before = facts::take(&world)?;
        // What goes on in the background has come to its end when two looks are alike.
        loop {
            std::thread::sleep(Duration::from_millis(200));
            let now = facts::take(&world)?;
            if now == before {
                return Ok((world, before));
            }
            before = now;
        }
    }

    fn rehearse(&self, world: &mut World, index: usize) -> Result<()> {
        let thing = &self.things[index];
        (thing.prepare)(world)?;
        self.note(world, None)?;
        if let Some(beside) = thing.beside {
            world.faults.arm_line(beside)?;
        }
        let outcome = (thing.act)(world)?;
        std::thread::sleep(LATE);
        self.note(world, Some(index))?;
        world.faults.disarm();
        (thing.check)(world, &outcome, Harm::None)?;
        (thing.again)(world)?;
        things::clear(world)?;
        self.note(world, None)
    }

    /// Takes down what was passed since the last time, for a thing or for none.
    fn note(&self, world: &mut World, thing: Option<usize>) -> Result<()> {
        let seen = world.faults.seen()?;
        let mut shared = self.shared();
        for ((_, name), count) in seen {
            shared.seen.insert(name.clone());
            let Some(thing) = thing else { continue };
            if self.things[thing].name.starts_with("restart") {
                shared.starting.insert(name.clone());
            }
            let most = shared.passed[thing].entry(name.clone()).or_default();
            *most = (*most).max(count);
            if shared.tried.insert((thing, name.clone())) {
                shared.untried.push((thing, name));
            }
        }
        Ok(())
    }

    /// What to do next: first every mark of every thing once, then whatever the dice say.
    fn next(&self, dice: &mut Dice) -> Option<Round> {
        let mut shared = self.shared();
        let is_done = shared.killed() >= self.target && (shared.untried.is_empty() || self.target < KILLS);
        if is_done || shared.failures.len() >= ENOUGH {
            return None;
        }
        shared.rounds += 1;
        if shared.rounds > self.target * 3 && self.everywhere.is_none() {
            let text = format!("{} rounds made too few kills", shared.rounds);
            shared.failures.push(text);
            return None;
        }
        if let Some((thing, point)) = self.only.clone() {
            return Some(Round { thing, point, action: "kill", skip: 0, then: None });
        }
        if let Some(action) = self.everywhere {
            let (thing, point) = loop {
                let (thing, point) = shared.untried.pop()?;
                if action == "kill" || action.starts_with("delay") || self.may_fail(&point) {
                    break (thing, point);
                }
            };
            let most = shared.passed[thing].get(&point).copied().unwrap_or(1);
            return Some(Round { thing, point, action, skip: dice.below(most as usize) as u32, then: None });
        }
        let fresh = dice.below(4) > 0 && !shared.untried.is_empty();
        let (thing, point, action, skip) = if fresh {
            let at = dice.below(shared.untried.len());
            let (thing, point) = shared.untried.swap_remove(at);
            (thing, point, "kill", 0)
        } else {
            let thing = dice.below(self.things.len());
            let names: Vec<&String> = shared.passed[thing].keys().collect();
            let name = (*dice.pick(&names)).clone();
            let most = shared.passed[thing][&name];
            let may_fail = self.may_fail(&name);
            let action = match (dice.below(20), may_fail) {
                (0, true) => "error",
                (1, true) => "enospc",
                (2, true) => "eio",
                (3, _) => "delay:40",
                _ => "kill",
            };
            (thing, name, action, dice.below(most as usize) as u32)
        };
        let starting: Vec<&String> =
            shared.starting.iter().filter(|name| !name.starts_with("runc-rs")).collect();
        let twice = dice.below(4) == 0 && !starting.is_empty();
        let then = twice.then(|| (*dice.pick(&starting)).clone());
        Some(Round { thing, point, action, skip, then })
    }

    fn may_fail(&self, name: &str) -> bool {
        self.points.get(name).is_some_and(|point| point.may_fail)
    }

    fn round(&self, world: &mut World, before: &Facts, round: &Round) -> Result<()> {
        let thing = &self.things[round.thing];
        (thing.prepare)(world).context("prepare")?;
        self.note(world, None)?;
        let beside = thing.beside.map(|line| format!("{line}\n")).unwrap_or_default();
        world.faults.arm_line(&format!("{beside}{} {} skip {}", round.point, round.action, round.skip))?;
        let outcome = (thing.act)(world).context("do it")?;
        let (harm, restarted) = self.come_back(world, round).context("come back")?;
        // What a daemon passes that comes back is no part of the thing, unless that is the thing.
        let of_thing = !restarted || thing.name.starts_with("restart");
        self.note(world, of_thing.then_some(round.thing))?;
        (thing.check)(world, &outcome, harm)
            .with_context(|| format!("what holds after {}", brief(&outcome)))?;
        (thing.again)(world).with_context(|| format!("the same again after {}", brief(&outcome)))?;
        things::clear(world).context("remove all")?;
        facts::settle(world, before).with_context(|| format!("what is left after {}", brief(&outcome)))?;
        facts::blobs_are_whole(world)?;
        self.note(world, None)
    }

    /// Waits for the fault, and starts the daemon again if it died of it; perhaps it dies once more on its way. Says whether it did.
    fn come_back(&self, world: &mut World, round: &Round) -> Result<(Harm, bool)> {
        let began = Instant::now();
        world.note_tasks();
        let fired = loop {
            if let Some(fired) = world.faults.fired_at(&round.point, round.action) {
                break Some(fired);
            }
            if began.elapsed() > LATE {
                break None;
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        world.faults.disarm();
        let Some(fired) = fired else {
            self.shared().missed += 1;
            let died = world.scene.daemon_ended()?.is_some();
            if died {
                world.start()?;
            }
            return Ok((Harm::None, died));
        };
        let kill = round.action == "kill";
        if kill {
            *self.shared().kills.entry(fired.program.clone()).or_default() += 1;
        }
        let own = fired.program == "runtimed";
        if own {
            self.restart(world, round, kill)?;
        }
        let harm = match fired.program.as_str() {
            "runtimed" | "rctl" => Harm::None,
            _ => Harm::Container,
        };
        Ok((harm, own))
    }

    fn restart(&self, world: &mut World, round: &Round, killed: bool) -> Result<()> {
        let began = Instant::now();
        while killed && world.scene.daemon_ended()?.is_none() {
            ensure!(began.elapsed() < PATIENCE, "the daemon was killed and lives");
            std::thread::sleep(Duration::from_millis(1));
        }
        if world.scene.daemon_ended()?.is_none() {
            // It failed to write, and promises to fail until it is started again.
            if !round.point.starts_with("metadata.commit") || round.action.starts_with("delay") {
                return Ok(());
            }
            world.scene.kill_daemon()?;
        }
        if let Some(then) = round.then.as_ref().filter(|_| killed) {
            world.faults.arm_line(&format!("{then} kill"))?;
            world.try_start()?;
            world.faults.disarm();
            if let Some(fired) = world.faults.fired_at(then, "kill") {
                *self.shared().kills.entry(fired.program.clone()).or_default() += 1;
                while fired.program == "runtimed" && world.scene.daemon_ended()?.is_none() {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            if world.scene.daemon_ended()?.is_none() {
                // The fault is still armed in it, and might be met in the middle of what comes next.
                world.scene.kill_daemon()?;
            }
        }
        world.start()
    }

    fn report(&self, took: Duration) -> Result<()> {
        let shared = self.shared();
        println!(
            "walk: {} rounds, {} kills {:?}, {} faults not met, {} marks seen, {} not died at yet, {:.0} s",
            shared.rounds,
            shared.killed(),
            shared.kills,
            shared.missed,
            shared.seen.len(),
            shared.untried.len(),
            took.as_secs_f32()
        );
        let names = self.points.keys().map(String::as_str);
        let unseen: Vec<&str> = names.filter(|name| !shared.seen.contains(*name)).collect();
        println!("walk: marks that nothing passed: {unseen:?}");
        let seed = self.seed;
        ensure!(
            shared.failures.is_empty(),
            "RUNTIMED_WALK_SEED={seed}: {} promises are broken:\n{}",
            shared.failures.len(),
            shared.failures.join("\n")
        );
        ensure!(
            self.only.is_some() || self.everywhere.is_some() || unseen.is_empty(),
            "nothing passes these marks: {}",
            unseen.join(" ")
        );
        Ok(())
    }
}

fn brief(outcome: &Outcome) -> String {
    format!("{}: {} {:?} {:?}", outcome.what, outcome.code, outcome.stdout, outcome.stderr)
}
