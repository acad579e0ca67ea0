//! Inputs of more than one part, and places to put them.

use std::borrow::Cow;
use std::path::Path;

use tempfile::TempDir;

/// Ends a part: a byte that no UTF-8 has.
const END: u8 = 0xff;

/// The parts of an input; those that are missing are empty.
pub fn parts<const N: usize>(bytes: &[u8]) -> [&[u8]; N] {
    let mut found = bytes.splitn(N, |byte| *byte == END);
    std::array::from_fn(|_| found.next().unwrap_or_default())
}

/// The parts as text.
pub fn texts<const N: usize>(bytes: &[u8]) -> [Cow<'_, str>; N] {
    parts::<N>(bytes).map(String::from_utf8_lossy)
}

/// A folder in memory where there is one: such targets would keep a disk busy.
pub fn folder() -> TempDir {
    let shm = Path::new("/dev/shm");
    let made = if shm.is_dir() { tempfile::tempdir_in(shm) } else { tempfile::tempdir() };
    made.expect("a temporary folder")
}

/// Fills `folder` with files, the parts of the input.
pub fn fill<const N: usize>(folder: &Path, names: [&str; N], bytes: &[u8]) {
    for (name, content) in names.into_iter().zip(parts::<N>(bytes)) {
        std::fs::write(folder.join(name), content).expect("write into a temporary folder");
    }
}

/// Runs what is asynchronous to its end.
pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    thread_local! {
        static RUNTIME: tokio::runtime::Runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    }
    RUNTIME.with(|runtime| runtime.block_on(work))
}
