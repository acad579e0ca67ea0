//! Fault points: what is armed from outside happens once, at one mark, in whichever program comes by first.
//!
//! The environment's [`FAULTS`] names a folder, and goes from the daemon to its shims and from them to executors. In the folder:
//!
//! | file | |
//! |---|---|
//! | `armed` | written by whoever tests: one line a fault, `<mark> <kill\|error\|enospc\|eio\|delay:MS> [skip N]` |
//! | `seen` | if it is there, each mark that is passed is added: `<program> <mark>` |
//! | `fired` | each fault that happened is added: `<program> <pid> <mark> <action>` |
//!
//! A line of `armed` is taken out under a lock before it fires: exactly one passer has the fault.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};

use crate::{FAULT_BIT, ON, program};

/// The variable that names the folder.
pub const FAULTS: &str = "RUNTIMED_FAULTS";

/// A descriptor, since an executor leaves the host's tree of mounts on its way.
static FOLDER: OnceLock<OwnedFd> = OnceLock::new();

/// A fault that a test asked for.
#[derive(Debug)]
pub struct Fault {
    name: &'static str,
    error: io::Error,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Kill,
    Error,
    NoSpace,
    InputOutput,
    Delay(Duration),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fault at {}: {}", self.name, self.error)
    }
}

impl std::error::Error for Fault {}

impl From<Fault> for io::Error {
    /// The kernel's error as it would have come, or one that names the mark.
    fn from(fault: Fault) -> io::Error {
        match fault.error.raw_os_error() {
            Some(_) => fault.error,
            None => io::Error::other(fault.to_string()),
        }
    }
}

impl From<Fault> for errors::Error {
    fn from(fault: Fault) -> errors::Error {
        let kind = errors::Kind::of_io(&fault.error);
        errors::Error::with_source(kind, format!("fault at {}", fault.name), fault.error)
    }
}

/// Switches faults on if the environment says so, and says whether it did.
pub(crate) fn init() -> bool {
    let Some(path) = std::env::var_os(FAULTS).filter(|path| !path.is_empty()) else { return false };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(folder) = rustix::fs::open(Path::new(&path), flags, Mode::empty()) else { return false };
    if FOLDER.set(folder).is_ok() {
        ON.fetch_or(FAULT_BIT, Ordering::Relaxed);
    }
    true
}

/// The folder's descriptor, if faults are on.
pub(crate) fn descriptor() -> Option<RawFd> {
    FOLDER.get().map(AsRawFd::as_raw_fd)
}

/// Somebody passes the mark `name`: what is armed for it happens.
pub(crate) fn hit(name: &'static str) -> Result<(), Fault> {
    let Some(folder) = FOLDER.get() else { return Ok(()) };
    note(folder, "seen", OFlags::empty(), &format!("{} {name}\n", program()));
    // Whoever armed it reads what went wrong with that in the error.
    let (action, text) = match claim(folder, name) {
        Ok(Some(claimed)) => claimed,
        Ok(None) => return Ok(()),
        Err(error) => return Err(Fault { name, error }),
    };
    let fired = format!("{} {} {name} {text}\n", program(), std::process::id());
    note(folder, "fired", OFlags::CREATE, &fired);
    let error = match action {
        Action::Kill => die(),
        Action::Delay(time) => {
            std::thread::sleep(time);
            return Ok(());
        }
        Action::Error => io::Error::other("asked for"),
        Action::NoSpace => rustix::io::Errno::NOSPC.into(),
        Action::InputOutput => rustix::io::Errno::IO.into(),
    };
    Err(Fault { name, error })
}

fn open(folder: &OwnedFd, file: &str, flags: OFlags) -> io::Result<File> {
    let opened = rustix::fs::openat(folder, file, flags | OFlags::CLOEXEC, Mode::from_raw_mode(0o600));
    Ok(File::from(opened?))
}

/// Adds a line; a file that is not there, or not to be reached, is none that anybody reads.
fn note(folder: &OwnedFd, file: &str, flags: OFlags, line: &str) {
    if let Ok(mut file) = open(folder, file, OFlags::WRONLY | OFlags::APPEND | flags) {
        let _ = file.write_all(line.as_bytes());
    }
}

/// Takes the first line for `name` out of what is armed, or counts down its `skip`.
fn claim(folder: &OwnedFd, name: &str) -> io::Result<Option<(Action, String)>> {
    let mut file = match open(folder, "armed", OFlags::RDWR) {
        Ok(file) => file,
        // Nothing is armed; or it is out of reach for one that has given up its rights, or its descriptors, already.
        Err(_) => return Ok(None),
    };
    file.lock()?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let Some(at) = lines.iter().position(|line| line.split_whitespace().next() == Some(name)) else {
        return Ok(None);
    };
    let (action, word, skip) = parse(&lines[at])?;
    let claimed = match skip {
        0 => {
            lines.remove(at);
            Some((action, word))
        }
        _ => {
            lines[at] = format!("{name} {word} skip {}", skip - 1);
            None
        }
    };
    file.rewind()?;
    file.set_len(0)?;
    file.write_all(lines.iter().map(|line| format!("{line}\n")).collect::<String>().as_bytes())?;
    Ok(claimed)
}

/// Action, its word, and how many passers are let through first.
fn parse(line: &str) -> io::Result<(Action, String, u32)> {
    let bad = || io::Error::other(format!("cannot read the armed line {line:?}"));
    let mut words = line.split_whitespace().skip(1);
    let word = words.next().ok_or_else(bad)?;
    let action = match (word, word.strip_prefix("delay:")) {
        (_, Some(time)) => Action::Delay(Duration::from_millis(time.parse().map_err(|_| bad())?)),
        ("kill", _) => Action::Kill,
        ("error", _) => Action::Error,
        ("enospc", _) => Action::NoSpace,
        ("eio", _) => Action::InputOutput,
        _ => return Err(bad()),
    };
    let skip = match (words.next(), words.next(), words.next()) {
        (None, ..) => 0,
        (Some("skip"), Some(number), None) => number.parse().map_err(|_| bad())?,
        _ => return Err(bad()),
    };
    Ok((action, word.to_owned(), skip))
}

fn die() -> ! {
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    // The first process of a pid namespace is deaf to its own signals, but not to the processor's.
    std::process::abort()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(armed: &str) -> (tempfile::TempDir, OwnedFd) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("armed"), armed).unwrap();
        let fd = rustix::fs::open(dir.path(), OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
        (dir, fd)
    }

    #[test]
    fn a_line_fires_once_after_those_it_lets_through() {
        let (dir, fd) = folder("a.b.c enospc skip 2\na.b.d delay:5\n");
        for _ in 0..2 {
            assert_eq!(claim(&fd, "a.b.c").unwrap(), None);
        }
        assert_eq!(claim(&fd, "a.b").unwrap(), None);
        assert_eq!(claim(&fd, "a.b.c").unwrap().unwrap().0, Action::NoSpace);
        assert_eq!(claim(&fd, "a.b.c").unwrap(), None);
        assert_eq!(claim(&fd, "a.b.d").unwrap().unwrap().0, Action::Delay(Duration::from_millis(5)));
        assert_eq!(std::fs::read_to_string(dir.path().join("armed")).unwrap(), "");
    }

    #[test]
    fn one_of_many_passers_has_the_fault() {
        let (_dir, fd) = folder("a.b.c kill\n");
        let claims = std::thread::scope(|threads| {
            let all: Vec<_> =
                (0..16).map(|_| threads.spawn(|| claim(&fd, "a.b.c").unwrap().is_some())).collect();
            all.into_iter().map(|one| usize::from(one.join().unwrap())).sum::<usize>()
        });
        assert_eq!(claims, 1);
    }

    #[test]
    fn a_line_that_cannot_be_read_is_named() {
        for line in
            ["m", "m explode", "m delay:x", "m kill skip", "m kill skip -1", "m kill 3", "m kill skip 1 2"]
        {
            assert!(parse(line).unwrap_err().to_string().contains(line), "{line}");
        }
    }

    #[test]
    fn faults_look_like_the_kernels() {
        let fault = || Fault { name: "a.b.c", error: rustix::io::Errno::NOSPC.into() };
        assert_eq!(io::Error::from(fault()).kind(), io::ErrorKind::StorageFull);
        let error = errors::Error::from(fault());
        assert_eq!(error.kind(), errors::Kind::ResourceExhausted);
        assert!(error.chain().starts_with("fault at a.b.c: No space left"), "{}", error.chain());
    }
}
