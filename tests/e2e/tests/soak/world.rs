//! The daemon under test, which may be killed at any moment, and commands that know whether it was.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use harness::{Outcome, Scene, picture};

use crate::{evidence, patience};

/// How long anything may take that must come about.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// What takes longer is looked at while it does, though it is no failure; so often at most.
const SLOW: Duration = Duration::from_secs(30);
const LOOKS: u32 = 3;

/// A daemon, and who works with it.
pub struct World {
    scene: RwLock<Scene>,
    /// Odd while there is no daemon.
    epoch: AtomicU64,
    /// Workers rest.
    over: AtomicBool,
    /// The first that went wrong.
    broken: Mutex<Option<String>>,
    /// Something does not end, and evidence is gathered.
    stuck: AtomicBool,
    /// How many slow commands were looked at.
    looks: AtomicU32,
    /// What took longest since that was asked, and how long.
    slowest: Mutex<(Duration, String)>,
}

/// What is said where a shim does not answer in time. Some are stopped, and the machine may have much else to do: one that never answers again is met
/// again.
const LATE: &[&str] = &["does not answer", "context deadline exceeded"];

/// Does rctl say that a shim was late?
pub fn is_late(said: &str) -> bool {
    LATE.iter().any(|text| said.contains(text))
}

/// How a command ended.
pub struct Call {
    /// What it said.
    pub outcome: Outcome,
    /// The daemon was killed meanwhile, or a shim was too late to say what came of it.
    pub cut: bool,
}

impl World {
    pub fn new(scene: Scene) -> World {
        World {
            scene: RwLock::new(scene),
            epoch: AtomicU64::new(0),
            over: AtomicBool::new(false),
            broken: Mutex::default(),
            stuck: AtomicBool::new(false),
            looks: AtomicU32::new(0),
            slowest: Mutex::default(),
        }
    }

    pub fn scene(&self) -> RwLockReadGuard<'_, Scene> {
        self.scene.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn scene_mut(&self) -> RwLockWriteGuard<'_, Scene> {
        self.scene.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The scene back, once nobody works with it.
    pub fn into_scene(self) -> Scene {
        self.scene.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Kills the daemon, leaves everything alone for a while, and starts the next one.
    pub fn kill_daemon(&self, pause: Duration) -> Result<Duration> {
        self.epoch.fetch_add(1, Ordering::SeqCst);
        let mut scene = self.scene_mut();
        scene.kill_daemon()?;
        std::thread::sleep(pause);
        let took = scene.start_daemon()?;
        self.epoch.fetch_add(1, Ordering::SeqCst);
        Ok(took)
    }

    /// Runs rctl while there is a daemon.
    pub fn rctl(&self, args: &[&str]) -> Result<Call> {
        let epoch = self.up()?;
        let mut rctl = self.scene().rctl_command(args);
        let (what, begun) = (format!("{args:?}"), Instant::now());
        let slow = |pid| self.slow(pid, &what);
        let outcome = patience::of(&mut rctl, [SLOW, PATIENCE], slow, |pid| self.stuck(Some(pid), &what))?;
        self.took(begun.elapsed(), what);
        let late = is_late(&outcome.stderr);
        Ok(Call { outcome, cut: late || self.epoch.load(Ordering::SeqCst) != epoch })
    }

    /// Runs rctl until it was not cut short.
    pub fn certain(&self, args: &[&str]) -> Result<Outcome> {
        let begun = Instant::now();
        loop {
            let call = self.rctl(args)?;
            if !call.cut {
                return Ok(call.outcome);
            }
            if begun.elapsed() > PATIENCE * 2 {
                self.stuck(None, &format!("an answer, and not {:?}", call.outcome))?;
            }
        }
    }

    /// The command `what` takes long.
    fn slow(&self, client: u32, what: &str) {
        if self.looks.fetch_add(1, Ordering::SeqCst) >= LOOKS {
            return;
        }
        match evidence::gather(&self.scene(), Some(client), what) {
            Ok(folder) => eprintln!("slow: {what}; see {}", folder.display()),
            Err(error) => eprintln!("slow: {what}; {error:#}"),
        }
    }

    fn took(&self, time: Duration, what: String) {
        let mut slowest = self.slowest.lock().unwrap_or_else(PoisonError::into_inner);
        if time > slowest.0 {
            *slowest = (time, what);
        }
    }

    /// What took longest since this was asked.
    pub fn slowest(&self) -> String {
        let (time, what) = std::mem::take(&mut *self.slowest.lock().unwrap_or_else(PoisonError::into_inner));
        format!("{what} with {time:.1?}")
    }

    /// `what` does not come about, which `client` waits for: fails, and says where it is written what there is to know. Only the first to fail is
    /// worth that.
    fn stuck(&self, client: Option<u32>, what: &str) -> Result<()> {
        if self.stuck.swap(true, Ordering::SeqCst) {
            bail!("{what}: does not come about either");
        }
        let scene = self.scene();
        let picture = picture::of_scene(&scene);
        let folder = evidence::gather(&scene, client, what)?;
        bail!("{what}: does not come about; see {}\n{picture}", folder.display());
    }

    /// Which daemon there is; an odd number while there is none.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }

    /// Waits until there is a daemon; says which.
    pub fn up(&self) -> Result<u64> {
        let begun = Instant::now();
        loop {
            let epoch = self.epoch.load(Ordering::SeqCst);
            if epoch.is_multiple_of(2) {
                return Ok(epoch);
            }
            if begun.elapsed() > PATIENCE * 2 {
                self.stuck(None, "a daemon")?;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Workers go on, or rest.
    pub fn set_over(&self, over: bool) {
        self.over.store(over, Ordering::SeqCst);
    }

    /// Is it time to rest?
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst) || self.is_broken()
    }

    /// Has something gone wrong?
    pub fn is_broken(&self) -> bool {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Something has gone wrong. The first counts.
    pub fn complain(&self, text: String) {
        eprintln!("BROKEN: {text}");
        self.broken.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(text);
    }

    /// Fails with what has gone wrong, if anything has.
    pub fn check(&self) -> Result<()> {
        match self.broken.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(text) => bail!("{text}"),
            None => Ok(()),
        }
    }

    /// Waits until `done` says so.
    pub fn until(&self, what: &str, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
        let begun = Instant::now();
        while !done()? {
            if begun.elapsed() > PATIENCE {
                self.stuck(None, what)?;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}
