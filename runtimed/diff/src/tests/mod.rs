//! Layers into real trees, as root: what a person finds there afterwards.

mod create;
mod hostile;
mod images;
mod tools;
mod whiteouts;

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use snapshot::Mount;
use tempfile::TempDir;

use crate::archive::{Entry, Kind, Writer};
use crate::{Applied, Compression, Limits, apply};

const ROOMY: Limits = Limits { bytes: 1 << 30, entries: 1 << 20, ..Limits::DEFAULT };

/// A folder to unpack into, mounted plainly or as the upper layer of an overlay.
struct Tree {
    folder: TempDir,
    mounts: Vec<Mount>,
}

impl Tree {
    fn plain() -> Tree {
        Tree::plain_in(tempfile::tempdir().unwrap())
    }

    fn plain_in(folder: TempDir) -> Tree {
        std::fs::create_dir(folder.path().join("root")).unwrap();
        let source = folder.path().join("root").display().to_string();
        let options = vec!["rw".to_owned(), "rbind".to_owned()];
        Tree { folder, mounts: vec![Mount { kind: "bind".to_owned(), source, options, ..Mount::default() }] }
    }

    fn overlay() -> Tree {
        let folder = tempfile::tempdir().unwrap();
        for name in ["root", "work", "lower"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        let path = |name: &str| folder.path().join(name).display().to_string();
        let mount = Mount {
            kind: "overlay".to_owned(),
            source: "overlay".to_owned(),
            target: String::new(),
            options: vec![
                format!("workdir={}", path("work")),
                format!("upperdir={}", path("root")),
                format!("lowerdir={}", path("lower")),
                "index=off".to_owned(),
            ],
        };
        Tree { folder, mounts: vec![mount] }
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    fn lower(&self, name: &str) -> PathBuf {
        self.folder.path().join("lower").join(name)
    }

    fn apply(&self, layer: &[u8]) -> errors::Result<Applied> {
        apply(&self.mounts, layer, Compression::None, &ROOMY, &self.folder.path().join("scratch"))
    }
}

fn file(name: &str, data: &str) -> (Entry, Vec<u8>) {
    let entry = Entry { name: name.into(), mode: 0o644, size: data.len() as u64, ..Entry::default() };
    (entry, data.as_bytes().to_vec())
}

fn thing(name: &str, kind: Kind, link: &str) -> (Entry, Vec<u8>) {
    let entry = Entry { name: name.into(), kind, mode: 0o755, link: link.into(), ..Entry::default() };
    (entry, Vec::new())
}

fn folder(name: &str) -> (Entry, Vec<u8>) {
    thing(name, Kind::Folder, "")
}

fn layer(entries: &[(Entry, Vec<u8>)]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (entry, data) in entries {
        writer.entry(entry).unwrap();
        writer.write(data).unwrap();
        writer.pad(data.len() as u64).unwrap();
    }
    writer.finish().unwrap()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

fn is_whiteout(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt as _;
    std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_char_device() && found.rdev() == 0)
}

fn is_opaque(path: &Path) -> bool {
    let mut value = [0; 8];
    rustix::fs::lgetxattr(path, "trusted.overlay.opaque", &mut value[..])
        .is_ok_and(|length| &value[..length] == b"y")
}
