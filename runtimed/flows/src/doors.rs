//! Doors for tests: each function takes bytes as an image's maker, a shim or a client may have written them.

use crate::attach::{Chunk, channel, read_frames};
use crate::config::ContainerConfig;
use crate::spec::{Machine, limits, security};
use crate::user::{Accounts, resolve};

/// An id that the kernel takes for one: -1 means "as it is" (setresuid(2)), and docker refuses all above this.
const LARGEST_ID: u32 = i32::MAX as u32;

/// Resolves `user` with an image's passwd and group. Whoever is found has ids that the kernel can set.
pub fn user(user: &str, passwd: &str, group: &str) {
    let accounts = Accounts { passwd: passwd.to_owned(), group: group.to_owned() };
    if let Ok(found) = resolve(user, &accounts) {
        assert!(found.uid <= LARGEST_ID && found.gid <= LARGEST_ID, "{user:?} became {found:?}");
        assert!(found.groups.iter().all(|gid| *gid <= LARGEST_ID), "{user:?} became {found:?}");
    }
}

/// Reads frames as a shim's attach socket may have them; returns the bytes of output, which are no more than came in.
pub async fn attach_frames(bytes: &[u8]) -> usize {
    let (sender, mut output) = channel();
    let counting = async {
        let mut count = 0;
        while let Some(Chunk::Stdout(bytes) | Chunk::Stderr(bytes)) = output.recv().await {
            count += bytes.len();
        }
        count
    };
    // That it is no frame is for the reader's log.
    let (_, count) = futures::join!(read_frames(bytes, sender), counting);
    assert!(count <= bytes.len());
    count
}

/// What a stored configuration asks for, as JSON: limits and security options.
pub fn container_config(bytes: &[u8]) {
    let Ok(config) = serde_json::from_slice::<ContainerConfig>(bytes) else { return };
    let _ = limits::resources(&config, &Machine::default());
    let _ = limits::rlimits(&config);
    if let Ok(security) = security::Security::parse(&config) {
        let _ = security.seccomp(true, &[], (6, 1));
    }
}
