//! How much room the disk has for what is built.

use std::path::Path;

/// What a run of every test needs below `target` when nothing has been built yet, in bytes, where cargo keeps nothing for the next
/// compilation (`CARGO_INCREMENTAL=0`); about three times as much where it does.
const TESTS: u64 = 8_000_000_000;

/// Says how much room there is. A compiler that ran out of it names some file of its own, minutes later.
pub fn say(target: &Path) {
    let near = target.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    let Ok(system) = nix::sys::statvfs::statvfs(near) else { return };
    let free = system.blocks_available() * system.fragment_size();
    let built = target.join("programs").exists();
    let short = if free < TESTS && !built { "; TOO LITTLE, it will most likely run out" } else { "" };
    println!(
        "disk: {} GB free at {}; all tests from nothing need about {} GB{short}",
        free / 1_000_000_000,
        near.display(),
        TESTS / 1_000_000_000
    );
}
