//! A full disk.

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use super::*;

/// A small file system in memory, for as long as it is held.
struct Small(PathBuf);

impl Small {
    fn mount(path: PathBuf) -> Small {
        std::fs::create_dir(&path).unwrap();
        mount("tmpfs", &path, "tmpfs", MountFlags::empty(), c"size=1m").unwrap();
        Small(path)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        unmount(&self.0, UnmountFlags::DETACH).unwrap();
    }
}

#[tokio::test]
async fn what_did_not_fit_can_go_on_once_there_is_room() {
    let root = tempfile::tempdir().unwrap();
    let small = Small::mount(root.path().join("small"));
    let store = metadata::Store::open(&root.path().join("metadata")).unwrap();
    let content = Content::open(&small.0, store, Bus::new()).unwrap();
    let ns = namespace("default");
    std::fs::write(small.0.join("filler"), vec![1; 600 << 10]).unwrap();

    let data = vec![7u8; 700 << 10];
    let mut hasher = Hasher::new(ids::Algorithm::Sha256);
    hasher.update(&data);
    let digest = hasher.digest().unwrap();
    let (half, rest) = data.split_at(300 << 10);
    let mut writer = content.writer(&ns, "r", data.len() as u64, None).await.unwrap();
    writer.write(0, half.to_vec().into()).await.unwrap();
    let full = writer.write(half.len() as u64, rest.to_vec().into()).await;
    assert_eq!(kind(full), Kind::ResourceExhausted);
    // Nothing of the failed write counts.
    assert_eq!(writer.status().offset, half.len() as u64);

    std::fs::remove_file(small.0.join("filler")).unwrap();
    writer.write(half.len() as u64, rest.to_vec().into()).await.unwrap();
    let info = writer.commit(data.len() as u64, Some(&digest), Labels::new()).await.unwrap();
    assert_eq!(info.size, data.len() as u64);
    drop(content);
}
