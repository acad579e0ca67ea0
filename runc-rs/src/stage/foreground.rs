//! `run` and `exec` in the foreground: signals are forwarded, the terminal is relayed, and the status is handed on.

use std::os::fd::OwnedFd;

use nix::sys::signal::Signal;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::process::WaitOptions;
use sys::signal::Signals;

use super::notify::Notify;
use super::streams::{RawMode, host_console, read_some, relay};
use crate::error::{Error, Result};

/// Signals, taken from the moment of creation on, so that none is lost between then and the program's start.
pub struct Foreground {
    signals: Signals,
    raw: Option<RawMode>,
    master: Option<OwnedFd>,
    /// Typed, and not yet taken by the terminal.
    typed: Vec<u8>,
    stdin_open: bool,
    /// Where the program says that it is ready, until it has.
    notify: Option<Notify>,
}

impl Foreground {
    /// Blocks the signals. With `subreaper`, processes that the container leaves behind become ours.
    pub fn new(subreaper: bool) -> Result<Self> {
        if subreaper {
            let this = rustix::process::getpid();
            rustix::process::set_child_subreaper(Some(this))
                .map_err(|e| Error::call("prctl PR_SET_CHILD_SUBREAPER", e))?;
        }
        // Those that an error of this program itself raises must not wait.
        let own = [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGILL, Signal::SIGFPE, Signal::SIGABRT];
        let signals = Signals::block_all_but(&own.map(|signal| signal as i32))
            .map_err(|e| Error::call("watch for signals", e))?;
        Ok(Foreground { signals, raw: None, master: None, typed: Vec::new(), stdin_open: true, notify: None })
    }

    /// Relays a terminal from here on.
    pub fn attach(&mut self, master: OwnedFd) -> Result<()> {
        let raw = RawMode::enter(host_console()?)?;
        raw.copy_size(&master);
        let flags = fcntl_getfl(&master).map_err(|e| Error::call("fcntl F_GETFL", e))?;
        fcntl_setfl(&master, flags | OFlags::NONBLOCK).map_err(|e| Error::call("fcntl F_SETFL", e))?;
        self.raw = Some(raw);
        self.master = Some(master);
        Ok(())
    }

    /// Hands on that the program is ready, from here on.
    pub fn hear(&mut self, notify: Option<Notify>) {
        self.notify = notify;
    }

    /// Serves until the process ends, and says its exit status: 128 and the signal's number for a killed one.
    pub fn wait(mut self, pid: i32) -> Result<i32> {
        let status = loop {
            // It may have ended before the signals were looked at.
            if let Some(status) = reap(pid)? {
                break status;
            }
            self.serve(pid)?;
        };
        self.drain()?;
        Ok(status)
    }

    /// Waits for the next thing to do, and does it.
    fn serve(&mut self, pid: i32) -> Result<()> {
        let stdin = rustix::stdio::stdin();
        let watched = self.stdin_open && self.typed.is_empty();
        let mut fds = vec![PollFd::new(&self.signals, PollFlags::IN)];
        if let Some(master) = &self.master {
            // What is typed waits until the program takes it: were the write to block, so would the program's output.
            let full = !self.typed.is_empty();
            let flags = if full { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
            fds.push(PollFd::new(master, flags));
            if watched {
                fds.push(PollFd::new(&stdin, PollFlags::IN));
            }
        }
        if let Some(notify) = &self.notify {
            fds.push(PollFd::new(notify, PollFlags::IN));
        }
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(Error::call("poll", e)),
        }
        let ready: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
        drop(fds);
        if !ready[0].is_empty() {
            self.forward(pid)?;
        }
        if self.notify.is_some() && ready.last().is_some_and(|events| !events.is_empty()) {
            self.hand_on();
        }
        if self.master.is_none() {
            return Ok(());
        }
        if let Some(events) = ready.get(1) {
            if events.contains(PollFlags::OUT) {
                self.input()?;
            }
            if !events.difference(PollFlags::OUT).is_empty() {
                self.output()?;
            }
        }
        if watched && ready.get(2).is_some_and(|events| !events.is_empty()) {
            self.stdin_open = read_some(stdin, &mut self.typed)?;
            self.input()?;
        }
        Ok(())
    }

    /// This process stays, and so is the one that the manager is to watch.
    fn hand_on(&mut self) {
        let Some(notify) = &self.notify else { return };
        match notify.hand_on(std::process::id().cast_signed()) {
            Ok(false) => return,
            Ok(true) => {}
            // The container runs, whether or not anybody hears of it.
            Err(e) => crate::log::warn(e.to_string()),
        }
        self.notify = None;
    }

    /// Gives the terminal as much as it takes of what was typed.
    fn input(&mut self) -> Result<()> {
        let Some(master) = &self.master else { return Ok(()) };
        match rustix::io::write(master, &self.typed) {
            Ok(count) => drop(self.typed.drain(..count)),
            Err(Errno::AGAIN | Errno::INTR) => {}
            // Nobody is there to read it.
            Err(Errno::IO) => self.typed.clear(),
            Err(e) => return Err(Error::call("write to the terminal", e)),
        }
        Ok(())
    }

    fn forward(&mut self, pid: i32) -> Result<()> {
        while let Some(number) = self.signals.next().map_err(|e| Error::call("read signals", e))? {
            match Signal::try_from(number) {
                Ok(Signal::SIGCHLD | Signal::SIGURG | Signal::SIGPIPE) => {}
                Ok(Signal::SIGWINCH) => {
                    if let (Some(raw), Some(master)) = (&self.raw, &self.master) {
                        raw.copy_size(master);
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

/// Collects ended children. The wanted one's status, if it is among them. Signals stay numbers: real-time ones have no name.
fn reap(pid: i32) -> Result<Option<i32>> {
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((ended, status))) if ended.as_raw_nonzero().get() == pid => {
                let code =
                    status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal));
                if code.is_some() {
                    return Ok(code);
                }
            }
            Ok(None) => return Ok(None),
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Err(e) => return Err(Error::call("wait", e)),
        }
    }
}
