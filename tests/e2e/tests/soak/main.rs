//! A soak: random verbs over many containers, with kills of the daemon and of shims, and a model beside it that says what must be true.
//!
//! It takes as long as it is told to, so it runs only when it is asked for: `cargo xtask soak --minutes N`, or with RUNTIMED_SOAK_MINUTES
//! and, to have the same again, RUNTIMED_SOAK_SEED set.

mod dice;
mod model;
mod worker;
mod world;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use dice::Dice;
use e2e::Use;
use harness::{Scene, programs};
use worker::Worker;
use world::World;

/// Who works at once.
const WORKERS: usize = 4;
/// Containers of each.
const BOXES: usize = 6;
/// Rounds; at the end of each everything is removed and looked at. In the last third the daemon lives on, so that what it gathers is seen.
const ROUNDS: u32 = 15;

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
    let world = World::new(scene);
    let round = Duration::from_secs(minutes * 60) / ROUNDS;
    let soaked = soak(&world, seed, round);
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

fn soak(world: &World, seed: u64, round: Duration) -> Result<()> {
    let mut workers: Vec<Worker> = (0..WORKERS)
        .map(|id| Worker::new(world, Dice::new(seed, id as u64), &format!("w{id}"), BOXES))
        .collect();
    let mut dice = Dice::new(seed, 1000);
    let mut first = None;
    for number in 0..ROUNDS {
        let kills = number < ROUNDS * 2 / 3;
        world.set_over(false);
        let killed = std::thread::scope(|scope| {
            for worker in &mut workers {
                scope.spawn(move || worker.work());
            }
            let killed = disturb(world, &mut dice, round, kills);
            world.set_over(true);
            killed
        })?;
        world.check()?;
        workers.iter_mut().try_for_each(Worker::clear)?;
        let used = settled(world)?;
        let done: u64 = workers.iter().map(|worker| worker.done).sum();
        println!(
            "round {number}: {done} verbs so far, the daemon killed {killed} times; empty, it has {used}"
        );
        if !kills {
            let first = *first.get_or_insert(used);
            ensure!(used.descriptors <= first.descriptors + 4, "descriptors grow: {first}, then {used}");
            ensure!(
                used.memory <= first.memory + first.memory / 4 + (4 << 10),
                "memory grows: {first}, then {used}"
            );
        }
    }
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

/// Everything was removed: waits until nothing is left but the daemon, and says what that has.
fn settled(world: &World) -> Result<Use> {
    ensure!(world.certain(&["ps", "--all", "--quiet"])?.stdout.is_empty(), "containers are left");
    ensure!(world.certain(&["tasks", "ls", "--quiet"])?.stdout.is_empty(), "tasks are left");
    let snapshots = world.certain(&["snapshots", "ls"])?.stdout;
    ensure!(!snapshots.contains(" Active"), "roots are left:\n{snapshots}");
    let mut left = Vec::new();
    let settled = world.until("an end of everything", || {
        left = world.scene().traces()?;
        Ok(left.is_empty())
    });
    settled.with_context(|| format!("left behind:\n  {}", left.join("\n  ")))?;
    let pid = world.scene().pid().context("a daemon runs")?;
    // Descriptors of the last connections go a moment later.
    let mut used = Use::of(pid)?;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(2) {
        std::thread::sleep(Duration::from_millis(100));
        let now = Use::of(pid)?;
        used = Use { descriptors: now.descriptors.min(used.descriptors), ..now };
    }
    Ok(used)
}
