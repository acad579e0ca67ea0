//! A soak: random verbs over many containers, with kills of the daemon, of shims and of executors, and a
//! model beside it that says what must be true. Beside those, one works on images, and one uses a container that lives as long as the soak does.
//!
//! It takes as long as it is told to, so it runs only when it is asked for: `cargo xtask soak --minutes N`, or with RUNTIMED_SOAK_MINUTES
//! and, to have the same again, RUNTIMED_SOAK_SEED set. With RUNTIMED_SOAK_DAEMON_LIVES=1 the daemon is never killed: what hangs in it would go on when
//! it died.

mod dice;
mod evidence;
mod hunt;
mod images;
mod keeper;
mod model;
mod patience;
mod worker;
mod world;

use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use dice::Dice;
use e2e::Use;
use harness::{Scene, programs};
use images::{Librarian, Sources};
use keeper::Keeper;
use worker::Worker;
use world::World;

/// Who works at once.
const WORKERS: usize = 4;
/// Containers of each.
const BOXES: usize = 6;
/// Rounds; at the end of each everything is removed and looked at. In the last third the daemon lives on, so that what it gathers is seen.
const ROUNDS: u32 = 15;

/// How long the daemon is left alone before it is asked what it has.
const BREATH: Duration = Duration::from_secs(2);
/// The same where that is compared: longer than the daemon waits before it gives memory back.
const REST: Duration = Duration::from_secs(12);

fn number(name: &str) -> Result<Option<u64>> {
    std::env::var(name).ok().map(|text| text.parse().with_context(|| format!("{name}={text}"))).transpose()
}

#[test]
#[ignore = "a soak, which runs when it is asked for: cargo xtask soak --minutes N"]
fn random_verbs_over_many_containers() -> Result<()> {
    let minutes = number("RUNTIMED_SOAK_MINUTES")?.unwrap_or(60);
    let seed = match number("RUNTIMED_SOAK_SEED")? {
        Some(seed) => seed,
        None => SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos() as u64,
    };
    println!("a soak of {minutes} minutes, RUNTIMED_SOAK_SEED={seed}");
    let mut scene = Scene::with_programs(&programs::folder()?)?;
    scene.start_daemon()?;
    e2e::load(&scene)?;
    let sources = Sources::new(&scene.root().join("scratch"))?;
    let world = World::new(scene);
    let round = Duration::from_secs(minutes * 60) / ROUNDS;
    let soaked = soak(&world, &sources, seed, round);
    drop(sources);
    let scene = world.into_scene();
    if let Err(error) = soaked {
        let log = scene.log();
        let kept = std::env::temp_dir().join(format!("runtimed-soak-{seed}.log"));
        std::fs::write(&kept, log)?;
        return Err(
            error.context(format!("RUNTIMED_SOAK_SEED={seed}; the daemon's log is in {}", kept.display()))
        );
    }
    scene.finish()
}

/// Everybody who works.
struct Crew<'a> {
    workers: Vec<Worker<'a>>,
    librarian: Librarian<'a>,
    keeper: Keeper<'a>,
}

impl Crew<'_> {
    /// All of them work while the daemon is disturbed; says how often it was killed.
    fn work(&mut self, world: &World, dice: &mut Dice, round: Duration, kills: bool) -> Result<u32> {
        world.set_over(false);
        let killed = std::thread::scope(|scope| {
            for worker in &mut self.workers {
                scope.spawn(move || worker.work());
            }
            scope.spawn(|| self.librarian.work());
            scope.spawn(|| self.keeper.work());
            let killed = disturb(world, dice, round, kills);
            world.set_over(true);
            killed
        })?;
        world.check()?;
        Ok(killed)
    }

    /// All that they have is removed, but for the keeper's container.
    fn clear(&mut self) -> Result<()> {
        self.workers.iter_mut().try_for_each(Worker::clear)?;
        self.librarian.clear()
    }

    fn done(&self) -> u64 {
        self.workers.iter().map(|worker| worker.done).sum::<u64>() + self.librarian.done + self.keeper.done
    }
}

fn soak(world: &World, sources: &Sources, seed: u64, round: Duration) -> Result<()> {
    let worker = |id: usize| Worker::new(world, Dice::new(seed, id as u64), &format!("w{id}"), BOXES);
    let mut crew = Crew {
        workers: (0..WORKERS).map(worker).collect(),
        librarian: Librarian::new(world, sources, Dice::new(seed, 1001)),
        keeper: Keeper::new(world, Dice::new(seed, 1002))?,
    };
    let before = there_is(world)?;
    let mut dice = Dice::new(seed, 1000);
    let (mut first, mut keeper) = (None, None);
    let lives = number("RUNTIMED_SOAK_DAEMON_LIVES")?.is_some_and(|number| number > 0);
    for number in 0..ROUNDS {
        let kills = !lives && number < ROUNDS * 2 / 3;
        let killed = crew.work(world, &mut dice, round, kills)?;
        crew.clear()?;
        let used = settled(world, &before, if kills { BREATH } else { REST })?;
        let (shim, done) = (crew.keeper.rested()?, crew.done());
        println!(
            "round {number}: {done} verbs so far, the daemon killed {killed} times; with nothing but the keeper, it has {used}, and the keeper's shim {shim}; slowest was {}",
            world.slowest()
        );
        flat("the keeper's shim", *keeper.get_or_insert(shim), shim, 256)?;
        // Each of them begins small.
        if !kills {
            let daemon = *first.get_or_insert(used);
            flat("the daemon", daemon, used, 4 << 10)?;
        }
    }
    crew.keeper.end()
}

/// What somebody has does not grow: descriptors not at all but for a few of connections that come and go, memory by a quarter and some KiB at most.
fn flat(whose: &str, first: Use, now: Use, some: usize) -> Result<()> {
    ensure!(now.descriptors <= first.descriptors + 4, "descriptors of {whose} grow: {first}, then {now}");
    ensure!(
        now.memory <= first.memory + first.memory / 4 + some,
        "memory of {whose} grows: {first}, then {now}"
    );
    Ok(())
}

/// Kills the daemon now and then for the length of a round; says how often.
fn disturb(world: &World, dice: &mut Dice, round: Duration, kills: bool) -> Result<u32> {
    let begun = Instant::now();
    let mut killed = 0;
    let mut next = Duration::from_millis(500 + dice.below(6000));
    while begun.elapsed() < round && !world.is_broken() {
        std::thread::sleep(Duration::from_millis(20));
        if kills && begun.elapsed() > next {
            let pause = Duration::from_millis(dice.below(400));
            if let Err(error) = world.kill_daemon(pause) {
                world.complain(format!("the daemon after {killed} kills: {error:#}"));
                return Ok(killed);
            }
            killed += 1;
            next = begun.elapsed() + Duration::from_millis(500 + dice.below(6000));
        }
    }
    Ok(killed)
}

/// What there is: containers, tasks, images, blobs, snapshots, and what the machine has of them.
fn there_is(world: &World) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for what in [
        &["ps", "--all", "--quiet"][..],
        &["tasks", "ls", "--quiet"],
        &["images", "--quiet", "--no-trunc"],
        &["content", "ls", "--quiet"],
        &["snapshots", "ls"],
        &["leases", "ls", "--quiet"],
    ] {
        let listed = world.certain(what)?.ok()?;
        found.extend(listed.lines().map(|line| format!("{}: {line}", what[0])));
    }
    found.extend(world.scene().traces()?);
    Ok(found)
}

/// Everything was removed: waits until nothing is left that was not there before, and says what the daemon has when it has rested.
fn settled(world: &World, before: &BTreeSet<String>, rest: Duration) -> Result<Use> {
    let (mut left, mut missing) = (Vec::new(), Vec::new());
    let settled = world.until("an end of everything", || {
        let now = there_is(world)?;
        left = now.difference(before).cloned().collect();
        missing = before.difference(&now).cloned().collect();
        Ok(left.is_empty() && missing.is_empty())
    });
    settled.with_context(|| {
        format!("left behind:\n  {}\nmissing:\n  {}", left.join("\n  "), missing.join("\n  "))
    })?;
    let pid = world.scene().pid().context("a daemon runs")?;
    // Descriptors of the last connections go a moment later, and memory is given back now and then.
    let mut used = Use::of(pid)?;
    let begun = Instant::now();
    while begun.elapsed() < rest {
        std::thread::sleep(Duration::from_millis(100));
        let now = Use::of(pid)?;
        let least = |of: fn(&Use) -> usize| of(&now).min(of(&used));
        used = Use { descriptors: least(|used| used.descriptors), memory: least(|used| used.memory), ..now };
    }
    Ok(used)
}
