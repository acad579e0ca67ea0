//! The container's network namespace, made by a thread beside what else is to be done: it is the dearest of all to make, and
//! nothing but the new process waits for it.

use std::os::fd::OwnedFd;
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sched::{CloneFlags, setns, unshare};
use rustix::fs::{Mode, OFlags};

use crate::error::{Error, Result};
use crate::plan::namespaces::{Kind, Namespaces};

/// What the thread needs of stack.
const STACK: usize = 64 << 10;
/// How long the kernel may take to be done with it.
const PATIENCE: Duration = Duration::from_secs(10);
/// The namespace of the thread that opens it (proc(5)).
const OWN: &str = "/proc/thread-self/ns/net";

/// A namespace under way.
#[derive(Debug)]
pub struct Network(JoinHandle<Result<OwnedFd>>);

impl Network {
    /// Begins to make one where that is the same as to be born in a new one; `None` where it is not, or cannot be done. Within a new user
    /// namespace it would belong to the wrong one; and from within a user namespace nobody comes back to the host's.
    pub fn begin(namespaces: &Namespaces) -> Option<Network> {
        if !namespaces.is_new(Kind::Net) || namespaces.has(Kind::User) || !can_come_back() {
            return None;
        }
        let begun = || sys::beside::begin(|| std::thread::Builder::new().stack_size(STACK).spawn(make));
        sys::signal::keep_mask(begun).ok()?.ok().map(Network)
    }

    /// Waits until it is made. Afterwards this process has one thread again, and can be cloned.
    pub fn wait(self) -> Result<OwnedFd> {
        let made =
            self.0.join().map_err(|_| Error::new("the thread that makes the network namespace panicked"))?;
        sys::clone::outlast_threads(PATIENCE);
        made
    }
}

/// To enter the namespace where one is takes the right over it (setns(2)).
fn can_come_back() -> bool {
    own().is_ok_and(|own| setns(own, CloneFlags::CLONE_NEWNET).is_ok())
}

/// Only of the thread that calls it.
fn make() -> Result<OwnedFd> {
    unshare(CloneFlags::CLONE_NEWNET).map_err(|e| Error::call("unshare CLONE_NEWNET", e))?;
    own()
}

/// The network namespace of the thread that calls it.
pub fn own() -> Result<OwnedFd> {
    rustix::fs::open(OWN, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|e| Error::call(format_args!("open {OWN}"), e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(kinds: &[Kind]) -> Namespaces {
        Namespaces { new: kinds.to_vec(), join: Vec::new() }
    }

    #[test]
    fn it_is_another_one_and_the_maker_s_stays() {
        if !nix::unistd::geteuid().is_root() {
            println!("it_is_another_one_and_the_maker_s_stays: needs root");
            return;
        }
        let number = |fd: &OwnedFd| rustix::fs::fstat(fd).unwrap().st_ino;
        let before = number(&own().unwrap());
        let made = Network::begin(&new(&[Kind::Net, Kind::Pid])).unwrap().wait().unwrap();
        assert_ne!(number(&made), before);
        assert_eq!(number(&own().unwrap()), before);
    }

    #[test]
    fn where_it_would_be_another_s_it_is_left_to_the_birth() {
        assert!(Network::begin(&new(&[Kind::Pid])).is_none());
        assert!(Network::begin(&new(&[Kind::User, Kind::Net])).is_none());
    }
}
