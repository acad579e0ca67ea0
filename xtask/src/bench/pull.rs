//! Pulling an image of twelve layers from a registry on loopback, and unpacking it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use harness::registry::Registry;
use harness::sh;

use super::Plan;
use super::job::Job;
use super::report::Report;
use super::stacks::{DOCKER, OUR_CTR, PEER, PODMAN, RCTL, Stacks};
use super::timing::{self, Contender};

/// How many layers it has.
const LAYERS: usize = 12;
/// What each holds before it is compressed, in bytes: 300 MB in all.
const LAYER: u64 = 25_000_000;
/// Larger files are left out, so that layers are mixed.
const LARGEST: u64 = 4_000_000;

/// Times it for everybody; each forgets the image again.
pub fn section(plan: &Plan, stacks: &Stacks, report: &mut Report) -> Result<()> {
    let scratch = stacks.ours.root().join("scratch/pull");
    std::fs::create_dir_all(&scratch)?;
    let layout = make(&scratch)?;
    let registry = Registry::start(&scratch)?;
    let name = registry.push(&layout, "1", "bench/twelve-layers")?;
    let compressed = size(&layout)?;
    let mut contenders: Vec<_> = stacks
        .of(&[RCTL, OUR_CTR, PEER, DOCKER, PODMAN])
        .into_iter()
        .map(|client| {
            Contender::new(client, |_| Job::in_order(vec![client.pull(&name)]))
                .after(|_| client.ok(vec![client.forget(&name)]).map(drop))
        })
        .collect();
    let samples = timing::in_turns(plan.batches, &mut contenders)?;
    report.part("Pull and unpack");
    report.say(&format!(
        "{LAYERS} layers of files from this machine's /usr, {} MB unpacked, {:.0} MB compressed by gzip; the registry's own CPU time is not counted.",
        LAYER * LAYERS as u64 / 1_000_000,
        compressed as f64 / 1e6
    ));
    report.times("`pull` from loopback", &samples, PEER);
    report.goal_ratio("`rctl pull` ÷ `ctr images pull` on containerd", 0.4, &samples, RCTL, PEER);
    Ok(())
}

/// Makes the image as an OCI layout under the tag 1.
fn make(scratch: &Path) -> Result<PathBuf> {
    let layout = scratch.join("layout");
    let image = format!("{}:1", layout.display());
    let umoci = |args: &[&str]| sh::read(Command::new("umoci").args(args)).map(drop);
    umoci(&["init", "--layout", &layout.display().to_string()])?;
    umoci(&["new", "--image", &image])?;
    let mut files = Vec::new();
    for folder in ["/usr/bin", "/usr/lib", "/usr/share"] {
        gather(Path::new(folder), &mut files)?;
    }
    let mut files = files.into_iter();
    for number in 0..LAYERS {
        let root = scratch.join("layer");
        let held = copy(&mut files, &root)?;
        ensure!(held >= LAYER, "this machine's /usr has too few files for layer {number}");
        umoci(&["insert", "--image", &image, &root.display().to_string(), "/"])?;
        std::fs::remove_dir_all(&root)?;
    }
    Ok(layout)
}

/// Plain files below a folder with their sizes, in the order of their names, so that two runs on one machine make the same image.
fn gather(folder: &Path, files: &mut Vec<(PathBuf, u64)>) -> Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort_unstable();
    for path in paths {
        let meta = path.symlink_metadata()?;
        if meta.is_dir() {
            gather(&path, files)?;
        } else if meta.is_file() && meta.len() <= LARGEST && meta.permissions().mode() & 0o6000 == 0 {
            files.push((path, meta.len()));
        }
    }
    Ok(())
}

/// Copies files below `root` until a layer is full; returns how much that is.
fn copy(files: &mut impl Iterator<Item = (PathBuf, u64)>, root: &Path) -> Result<u64> {
    let mut held = 0;
    for (path, length) in files {
        let to = root.join(path.strip_prefix("/")?);
        std::fs::create_dir_all(to.parent().unwrap_or(root))?;
        std::fs::copy(&path, &to).with_context(|| format!("copy {}", path.display()))?;
        held += length;
        if held >= LAYER {
            break;
        }
    }
    Ok(held)
}

fn size(layout: &Path) -> Result<u64> {
    let blobs = std::fs::read_dir(layout.join("blobs/sha256"))?.flatten();
    Ok(blobs.filter_map(|entry| entry.metadata().ok()).map(|meta| meta.len()).sum())
}
