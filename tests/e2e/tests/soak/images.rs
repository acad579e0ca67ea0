//! One who loads, pulls, tags, saves, uses and removes images, and knows which there must be.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use harness::image;
use harness::registry::Registry;

use crate::dice::Dice;
use crate::world::World;

/// The image that everybody's containers are made of.
const OTHERS: &str = "busybox:latest";

/// What can be had from where, and where it is.
pub struct Sources {
    /// The name of an image in the registry.
    remote: String,
    /// An archive of `small:loaded`.
    archive: String,
    /// Where images are saved.
    saved: String,
    _registry: Registry,
}

impl Sources {
    /// Makes them below `scratch`, with a registry that serves until this is dropped.
    pub fn new(scratch: &Path) -> Result<Sources> {
        let layout = scratch.join("small-layout");
        image::small(&scratch.join("small"), &layout, "1")?;
        let registry = Registry::start(scratch)?;
        let remote = registry.push(&layout, "1", "small")?;
        let archive = image::archive(&layout, "1", &scratch.join("small.tar"), "small:loaded")?;
        let text = |path: &Path| path.display().to_string();
        let (archive, saved) = (text(&archive), text(&scratch.join("saved.tar")));
        Ok(Sources { remote, archive, saved, _registry: registry })
    }

    fn names(&self) -> Vec<String> {
        let mut names = vec!["small:loaded".to_owned(), self.remote.clone()];
        names.extend((0..3).map(|number| format!("soak/tag:{number}")));
        names
    }
}

/// Who works on images.
pub struct Librarian<'a> {
    world: &'a World,
    sources: &'a Sources,
    dice: Dice,
    there: BTreeSet<String>,
    /// What was done.
    pub done: u64,
}

impl<'a> Librarian<'a> {
    /// Works on images that nobody else has.
    pub fn new(world: &'a World, sources: &'a Sources, dice: Dice) -> Librarian<'a> {
        Librarian { world, sources, dice, there: BTreeSet::new(), done: 0 }
    }

    /// Works until it is told to rest.
    pub fn work(&mut self) {
        while !self.world.is_over() {
            self.done += 1;
            if let Err(error) = self.step() {
                self.world.complain(format!("images: {error:#}"));
                return;
            }
        }
    }

    /// Removes them all.
    pub fn clear(&mut self) -> Result<()> {
        for name in std::mem::take(&mut self.there) {
            self.world.certain(&["rmi", "--force", &name])?;
        }
        let left = self.listed()?;
        ensure!(left.is_empty(), "images are left: {left:?}");
        Ok(())
    }

    fn step(&mut self) -> Result<()> {
        let names = self.sources.names();
        let (from, to) = (self.dice.one(&names).clone(), self.dice.one(&names[2..]).clone());
        let has = self.there.contains(&from);
        let mut after = self.there.clone();
        let (args, works): (Vec<&str>, bool) = match self.dice.below(8) {
            0 | 1 => {
                after.insert("small:loaded".to_owned());
                (vec!["load", "--quiet", "--input", &self.sources.archive], true)
            }
            2 | 3 => {
                after.insert(self.sources.remote.clone());
                (vec!["pull", "--quiet", &self.sources.remote], true)
            }
            4 => {
                if has {
                    after.insert(to.clone());
                }
                (vec!["tag", &from, &to], has)
            }
            5 => (vec!["save", "--output", &self.sources.saved, &from], has),
            6 => return self.use_one(&from, has),
            _ => {
                after.remove(&from);
                (vec!["rmi", &from], has)
            }
        };
        let call = self.world.rctl(&args)?;
        if !call.cut {
            ensure!((call.outcome.code == 0) == works, "with {:?}: {:?}", self.there, call.outcome);
        }
        let found = self.listed()?;
        let as_it_was = call.cut && found == self.there;
        ensure!(found == after || as_it_was, "after {args:?} of {:?} there are {found:?}", self.there);
        self.there = found;
        Ok(())
    }

    /// A container can be made of what is there, and of nothing else.
    fn use_one(&self, image: &str, has: bool) -> Result<()> {
        let call = self.world.rctl(&["create", "--pull", "never", "--name", "of-small", image, "/none"])?;
        if !call.cut {
            ensure!((call.outcome.code == 0) == has, "with {:?}: {:?}", self.there, call.outcome);
        }
        let gone = self.world.certain(&["rm", "--force", "of-small"])?;
        ensure!(gone.code == 0 || gone.stderr.contains("No such container"), "{gone:?}");
        Ok(())
    }

    /// All images but [`OTHERS`].
    fn listed(&self) -> Result<BTreeSet<String>> {
        let outcome = self.world.certain(&["images", "--format", "{{.Repository}}:{{.Tag}}"])?;
        let mut names: BTreeSet<String> =
            outcome.ok().context("list images")?.lines().map(str::to_owned).collect();
        ensure!(names.remove(OTHERS), "{OTHERS} is gone");
        Ok(names)
    }
}
