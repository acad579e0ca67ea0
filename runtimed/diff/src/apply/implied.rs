//! Folders that a layer has something in, but not themselves. They show instead of those below, so they take on owner, mode,
//! time and attributes of those; which only works once the layers below are there. A layer may be applied before.

use std::collections::HashMap;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use errors::{Context, Result};

use super::place::Lower;
use crate::target::{Inode, Target, split};

/// The implied folders of one layer, by inode: a name may come to lead elsewhere.
#[derive(Debug, Default)]
pub(crate) struct Implied {
    folders: HashMap<Inode, Vec<u8>>,
}

/// An applied layer that still has to learn what its implied folders look like in the layers below.
#[derive(Debug)]
#[must_use = "folders that the layer implies look wrong until it is settled"]
pub struct Unsettled {
    root: PathBuf,
    implied: Implied,
}

impl Implied {
    /// The folder at `path`, through real folders only, was made on the way to something.
    pub(crate) fn add(&mut self, inode: Inode, path: Vec<u8>) {
        self.folders.insert(inode, path);
    }

    /// The layer has said itself what this is.
    pub(crate) fn remove(&mut self, inode: &Inode) {
        self.folders.remove(inode);
    }
}

impl Unsettled {
    pub(crate) fn new(root: &Path, implied: Implied) -> Unsettled {
        Unsettled { root: root.to_owned(), implied }
    }

    /// Makes the implied folders look like those in the folders `lower`, nearest first. All of them must be settled.
    pub fn settle(self, lower: &[PathBuf]) -> Result<()> {
        if self.implied.folders.is_empty() || lower.is_empty() {
            return Ok(());
        }
        let mut target = Target::open(&self.root)?;
        let lower = Lower::open(lower)?;
        for (known, path) in self.implied.folders {
            let call = || format!("settle the folder {:?} of the layer", String::from_utf8_lossy(&path));
            let (_, name) = split(&path);
            if let Some(folder) = target.holder_of(&path, known).context(call)? {
                lower.dress(folder.as_fd(), &path, name).context(call)?;
            }
        }
        Ok(())
    }
}
