//! Sources of bind mounts that the command opens for init.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::io::Errno;

use super::idmap;
use crate::error::{Context, Error, Result};
use crate::plan::mounts::Source;
use crate::plan::namespaces::Kind;
use crate::plan::options::Propagation;
use crate::plan::{Plan, Step};
use crate::steps::{site, tree};

/// Sources of bind mounts that init, in a user namespace, may have no right to reach; and those that are id-mapped,
/// which takes rights over the file system.
pub fn of(plan: &Plan) -> Result<Vec<(PathBuf, OwnedFd)>> {
    // A user cannot take trees out of the host's namespace of mounts, but reaches what init reaches.
    let all = plan.namespaces.is_new(Kind::User) && nix::unistd::geteuid().is_root();
    let mut trees = Vec::new();
    for step in &plan.steps {
        let Step::Mount(m) = step else { continue };
        let Source::Bind { path, recursive } = &m.source else { continue };
        if !all && m.id_maps.is_none() {
            continue;
        }
        if !sys::mount::has_descriptor_calls() {
            if m.id_maps.is_some() {
                let at = m.destination.display();
                return Err(Error::new(format!(
                    "mount {at}: id-mapped mounts need mount_setattr (Linux 5.12)"
                )));
            }
            continue;
        }
        let tree = match tree::try_open(path, *recursive) {
            // Root of a user namespace that does not own these mounts; init reaches what it may.
            Err(Errno::PERM) if m.id_maps.is_none() => continue,
            opened => opened
                .map_err(|e| Error::call(format_args!("open_tree {}", path.display()), e))
                .with_context(|| format!("error mounting {path:?} to rootfs at {:?}", m.destination))?,
        };
        cut_off(plan, &tree)?;
        if let Some((uids, gids)) = &m.id_maps {
            let recursive = m.options.idmap.unwrap_or(false);
            idmap::apply(&tree, recursive, uids, gids)
                .with_context(|| format!("id-map {path:?} for {:?}", m.destination))?;
        }
        trees.push((m.destination.clone(), tree));
    }
    Ok(trees)
}

/// A tree taken from the host's namespace is a peer of the host's mounts, unlike one taken from init's: without this,
/// what the container mounts there would show up on the host.
fn cut_off(plan: &Plan, tree: &OwnedFd) -> Result<()> {
    let asked = plan.steps.iter().find_map(|step| match step {
        Step::BindRoot { propagation } => Some(*propagation),
        _ => None,
    });
    match asked {
        Some(propagation) => site::propagate_detached(tree, Propagation { recursive: true, ..propagation }),
        None => Ok(()),
    }
}
