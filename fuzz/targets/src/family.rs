//! Targets that read the same sort of input. libFuzzer has a program for each family, which gives every input to all of its members: what is new
//! to one of them is kept for the others, and an hour of the program is an hour of each.

use std::cell::Cell;
use std::panic;

use crate::{TARGETS, Target};

/// What its members read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Layers, which are applied for real: slow.
    Layers,
    /// Archives of images, with their import: slow.
    Archives,
    /// JSON of registries and of clients.
    Images,
    /// JSON that executors read and write.
    Specs,
    /// Words: names, options of mounts, users, flags.
    Names,
    /// Texts with a grammar: filters, templates, challenges.
    Languages,
    /// TOML.
    Settings,
    /// Streams that are read in pieces: frames, records of logs.
    Frames,
    /// Protobuf, and the command line that comes with it.
    Requests,
    /// Files of /proc.
    Kernel,
    /// Files of a cgroup, in a folder.
    Cgroups,
    /// Files of a bundle, in a folder.
    Bundles,
}

/// All of them, each with the name of its program.
const NAMES: &[(&str, Family)] = &[
    ("layers", Family::Layers),
    ("archives", Family::Archives),
    ("images", Family::Images),
    ("specs", Family::Specs),
    ("names", Family::Names),
    ("languages", Family::Languages),
    ("settings", Family::Settings),
    ("frames", Family::Frames),
    ("requests", Family::Requests),
    ("kernel", Family::Kernel),
    ("cgroups", Family::Cgroups),
    ("bundles", Family::Bundles),
];

/// The variable with which a program is asked for its members.
const ASKED: &str = "RUNTIMED_FUZZ_MEMBERS";

thread_local! {
    static AT: Cell<&'static str> = const { Cell::new("none") };
}

impl Family {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Family> {
        NAMES.iter().map(|(_, family)| *family)
    }

    /// The family whose program has this name.
    pub fn named(name: &str) -> Option<Family> {
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, family)| *family)
    }

    /// The name of its program.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(_, family)| *family == self).map_or("none", |(name, _)| name)
    }

    /// Its members.
    pub fn targets(self) -> impl Iterator<Item = &'static Target> {
        TARGETS.iter().filter(move |target| target.family == self)
    }

    /// Gives an input to every member.
    ///
    /// # Panics
    /// When one of them finds something; its program says which, see [`Family::begin`].
    pub fn run(self, bytes: &[u8]) {
        for target in self.targets() {
            AT.set(target.name);
            (target.run)(bytes);
        }
    }

    /// What its program does first: from now on a panic says which target it was that found something. With [`ASKED`] in its environment it
    /// names its members instead, a line each, and ends.
    pub fn begin(self) {
        if std::env::var_os(ASKED).is_some() {
            self.targets().for_each(|target| println!("{}", target.name));
            std::process::exit(0);
        }
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            eprintln!("found by the target {}", AT.get());
            before(info);
        }));
    }
}
