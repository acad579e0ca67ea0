//! What runs, as the state folder and the kernel tell it: bundles with their specs, and the roots that are mounted in them.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use errors::{Context, Result};
use ids::{ContainerId, Namespace};
use snapshot::Mounted;

/// Below the state folder: a folder a namespace, in it one a task.
const TASKS: &str = "io.containerd.runtime.v2.task";
/// The longest spec that is read, in bytes.
const SPEC: u64 = 16 << 20;

/// A task's bundle.
pub struct Running {
    /// Whose it is.
    pub namespace: Namespace,
    /// Its container.
    pub id: ContainerId,
    /// Its config.json.
    pub spec: Vec<u8>,
    /// Its root, if that is an overlay.
    pub mounted: Option<Mounted>,
}

/// All bundles below the state folder that can be read.
pub fn running(state: &Path) -> Result<Vec<Running>> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").context(|| "read /proc/self/mountinfo")?;
    let mut found = Vec::new();
    for namespace in folders(&state.join(TASKS))? {
        let Some(owner) = name(&namespace).and_then(|name| Namespace::parse(name).ok()) else { continue };
        for bundle in folders(&namespace)? {
            let Some(id) = name(&bundle).and_then(|name| ContainerId::parse(name).ok()) else { continue };
            let mut spec = Vec::new();
            let read = fs::File::open(bundle.join("config.json"))
                .and_then(|file| file.take(SPEC).read_to_end(&mut spec));
            if let Err(error) = read {
                eprintln!("runtimed: bundle {} is left out: {error}", bundle.display());
                continue;
            }
            let mounted = overlay(&mounts, &bundle.join("rootfs")).map(|(upper, lower)| Mounted {
                namespace: owner.clone(),
                key: id.to_string(),
                upper,
                lower,
            });
            found.push(Running { namespace: owner.clone(), id, spec, mounted });
        }
    }
    Ok(found)
}

/// `upperdir` and `lowerdir` of what is mounted at `place`, from mountinfo (proc_pid_mountinfo(5)).
fn overlay(mounts: &str, place: &Path) -> Option<(PathBuf, Vec<PathBuf>)> {
    let line = mounts
        .lines()
        .rev()
        .find(|line| line.split(' ').nth(4).is_some_and(|point| Path::new(&unescape(point)) == place))?;
    let (_, described) = line.split_once(" - ")?;
    let options = described.strip_prefix("overlay ")?.split(' ').nth(1)?;
    let values = |key: &'static str| {
        options.split(',').filter_map(move |option| option.strip_prefix(key)?.strip_prefix('='))
    };
    let path = |text: &str| PathBuf::from(unescape(text));
    // Layers that were added one by one are told so.
    let lower = values("lowerdir").flat_map(|list| list.split(':')).chain(values("lowerdir+"));
    // What is below all images is no snapshot.
    let lower = lower.map(path).filter(|layer| !layer.ends_with(flows::mount_points::NAME));
    Some((path(values("upperdir").next()?), lower.collect()))
}

/// Octal escapes, as the kernel writes blanks and backslashes.
fn unescape(text: &str) -> String {
    let mut plain = Vec::new();
    let mut bytes = text.as_bytes();
    while let Some((first, rest)) = bytes.split_first() {
        let octal = rest.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()).filter(|_| *first == b'\\') {
            Some(byte) => {
                plain.push(byte);
                bytes = &rest[3..];
            }
            None => {
                plain.push(*first);
                bytes = rest;
            }
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

fn name(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()
}

fn folders(path: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.context(|| format!("read folder {}", path.display()))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.context(|| format!("read folder {}", path.display()))?.path();
        if path.is_dir() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mountinfo_tells_the_layers_of_a_root() {
        let text = "29 1 8:1 / / rw - ext4 /dev/sda rw\n\
                    55 29 0:50 / /run/x/a\\040b/rootfs rw,relatime shared:9 - overlay overlay rw,lowerdir=/l/2/fs:/l/1/fs:/l/mount-points,upperdir=/l/3/fs,workdir=/l/3/work\n";
        let (upper, lower) = overlay(text, Path::new("/run/x/a b/rootfs")).unwrap();
        assert_eq!((upper.as_path(), lower.len()), (Path::new("/l/3/fs"), 2));
        assert_eq!(lower[0], Path::new("/l/2/fs"));
        assert!(overlay(text, Path::new("/")).is_none());
        let text = text.replace(
            "lowerdir=/l/2/fs:/l/1/fs:/l/mount-points",
            "lowerdir+=/l/2/fs,lowerdir+=/l/1/fs,lowerdir+=/l/mount-points",
        );
        assert_eq!(overlay(&text, Path::new("/run/x/a b/rootfs")).unwrap().1, lower);
    }
}
