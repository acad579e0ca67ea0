//! `run` and `exec` in the foreground: signals are forwarded, the terminal is relayed, and the status is handed on.

use std::os::fd::OwnedFd;

use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::streams::{RawMode, copy_size, relay};
use crate::error::{Error, Result};

/// Signals, taken from the moment of creation on, so that none is lost between then and the program's start.
pub struct Foreground {
    signals: SignalFd,
    raw: Option<RawMode>,
    master: Option<OwnedFd>,
}

impl Foreground {
    /// Blocks the signals. With `subreaper`, processes that the container leaves behind become ours.
    pub fn new(subreaper: bool) -> Result<Self> {
        if subreaper {
            let this = rustix::process::getpid();
            rustix::process::set_child_subreaper(Some(this))
                .map_err(|e| Error::call("prctl PR_SET_CHILD_SUBREAPER", e))?;
        }
        let mut all = SigSet::all();
        // Those that an error of this program itself raises must not wait.
        for signal in [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGILL, Signal::SIGFPE, Signal::SIGABRT] {
            all.remove(signal);
        }
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&all), None).map_err(|e| Error::call("sigprocmask", e))?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let signals = SignalFd::with_flags(&all, flags).map_err(|e| Error::call("signalfd", e))?;
        Ok(Foreground { signals, raw: None, master: None })
    }

    /// Relays a terminal from here on.
    pub fn attach(&mut self, master: OwnedFd) -> Result<()> {
        copy_size(&master);
        self.raw = RawMode::enter()?;
        self.master = Some(master);
        Ok(())
    }

    /// Serves until the process ends, and says its exit status: 128 and the signal's number for a killed one.
    pub fn wait(mut self, pid: i32) -> Result<i32> {
        let mut stdin_open = self.master.is_some();
        let status = loop {
            // It may have ended before the signals were looked at.
            if let Some(status) = reap(pid)? {
                break status;
            }
            let mut fds = vec![PollFd::new(&self.signals, PollFlags::IN)];
            let stdin = rustix::stdio::stdin();
            if let Some(master) = &self.master {
                fds.push(PollFd::new(master, PollFlags::IN));
                if stdin_open {
                    fds.push(PollFd::new(&stdin, PollFlags::IN));
                }
            }
            match poll(&mut fds, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(e) => return Err(Error::call("poll", e)),
            }
            let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
            drop(fds);
            if ready[0] {
                self.forward(pid)?;
            }
            if ready.get(1) == Some(&true) {
                self.output()?;
            }
            if ready.get(2) == Some(&true)
                && let Some(master) = &self.master
            {
                stdin_open = relay(rustix::stdio::stdin(), master)?;
            }
        };
        self.drain()?;
        Ok(status)
    }

    fn forward(&mut self, pid: i32) -> Result<()> {
        while let Some(signal) = self.signals.read_signal().map_err(|e| Error::call("read signals", e))? {
            let number = signal.ssi_signo.cast_signed();
            match Signal::try_from(number) {
                Ok(Signal::SIGCHLD | Signal::SIGURG | Signal::SIGPIPE) => {}
                Ok(Signal::SIGWINCH) => {
                    if let Some(master) = &self.master {
                        copy_size(master);
                    }
                }
                // It may be gone, which the next round finds out.
                _ => drop(sys::signal::kill(pid, number)),
            }
        }
        Ok(())
    }

    fn output(&mut self) -> Result<()> {
        if let Some(master) = &self.master
            && !relay(master, rustix::stdio::stdout())?
        {
            self.master = None;
        }
        Ok(())
    }

    /// What the terminal still holds when the process has ended.
    fn drain(&mut self) -> Result<()> {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        while let Some(master) = &self.master {
            let mut fds = [PollFd::new(master, PollFlags::IN)];
            if poll(&mut fds, Some(&now)).unwrap_or(0) == 0 {
                break;
            }
            self.output()?;
        }
        self.raw = None;
        Ok(())
    }
}

/// Collects ended children. The wanted one's status, if it is among them.
fn reap(pid: i32) -> Result<Option<i32>> {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(ended, code)) if ended.as_raw() == pid => return Ok(Some(code)),
            Ok(WaitStatus::Signaled(ended, signal, _)) if ended.as_raw() == pid => {
                return Ok(Some(128 + signal as i32));
            }
            Ok(WaitStatus::StillAlive) => return Ok(None),
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            // Killed by a real-time signal, which nix has no name for; the process has been collected all the same.
            Err(nix::errno::Errno::EINVAL) => {}
            Err(e) => return Err(Error::call("waitpid", e)),
        }
    }
}
