//! A person at a terminal: a program on a pty, what it shows, and what is typed.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

/// How long a program may take to show something, or to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// What was shown so far, and the news of more.
type Screen = Arc<(Mutex<Vec<u8>>, Condvar)>;

/// A program on a terminal of its own.
pub struct Terminal {
    keyboard: File,
    /// Held, so that the terminal outlives its program and can be looked at afterwards.
    line: OwnedFd,
    child: Child,
    screen: Screen,
    seen: usize,
}

impl Terminal {
    /// Starts a program on a new terminal of 80 columns and 24 rows, which is its controlling one.
    pub fn start(command: &Command) -> Result<Terminal> {
        let pty = nix::pty::openpty(None, None).context("open a pty")?;
        tcsetwinsize(&pty.master, size(80, 24)).context("size the pty")?;
        // setsid(1) gives the program the terminal: then ctrl-c and changes of size reach it as signals.
        let mut wrapped = Command::new("setsid");
        wrapped.arg("--ctty").arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => wrapped.env(name, value),
                None => wrapped.env_remove(name),
            };
        }
        wrapped.env("TERM", "xterm").stdin(pty.slave.try_clone()?).stdout(pty.slave.try_clone()?);
        let child = wrapped.stderr(pty.slave.try_clone()?).spawn().context("start on a pty")?;
        let screen = Screen::default();
        let (output, shown) = (File::from(pty.master.try_clone()?), screen.clone());
        std::thread::spawn(move || watch(output, &shown));
        Ok(Terminal { keyboard: File::from(pty.master), line: pty.slave, child, screen, seen: 0 })
    }

    /// Types.
    pub fn type_in(&mut self, keys: &str) -> Result<()> {
        self.keyboard.write_all(keys.as_bytes()).context("type")
    }

    /// Waits until `text` is shown, after what was waited for before.
    pub fn expect(&mut self, text: &str) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let (shown, news) = &*self.screen;
        let mut screen = shown.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let fresh = &screen[self.seen..];
            if let Some(at) = fresh.windows(text.len()).position(|window| window == text.as_bytes()) {
                self.seen += at + text.len();
                return Ok(());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            ensure!(!left.is_zero(), "{text:?} is not shown after {:?}", String::from_utf8_lossy(fresh));
            screen = news.wait_timeout(screen, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// All that was shown so far.
    pub fn shown(&self) -> String {
        let (shown, _) = &*self.screen;
        let screen = shown.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&screen).into_owned()
    }

    /// Gives the terminal another size.
    pub fn resize(&self, columns: u16, rows: u16) -> Result<()> {
        tcsetwinsize(&self.keyboard, size(columns, rows)).context("size the pty")
    }

    /// Sends the program a signal.
    pub fn signal(&self, name: &str) -> Result<()> {
        harness::sh::run(Command::new("kill").args(["-s", name, &self.child.id().to_string()]))
    }

    /// Does the terminal pass keys on as they are, without showing them itself?
    pub fn is_raw(&self) -> Result<bool> {
        let modes = tcgetattr(self.line.as_fd()).context("look at the terminal")?.local_modes;
        Ok(!modes.intersects(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG))
    }

    /// Waits for the program's end and returns its exit code; the terminal must be as it was before.
    pub fn end(&mut self) -> Result<i32> {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            if Instant::now() > deadline {
                let (shown, _) = &*self.screen;
                let screen = shown.lock().unwrap_or_else(PoisonError::into_inner);
                bail!("it does not end; shown: {:?}", String::from_utf8_lossy(&screen));
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        ensure!(!self.is_raw()?, "the terminal was left raw");
        status.code().with_context(|| format!("ended with {status}"))
    }
}

impl Drop for Terminal {
    /// A test that failed must not leave its program behind.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn size(columns: u16, rows: u16) -> Winsize {
    Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 }
}

/// Takes what is shown until the terminal is gone.
fn watch(mut output: File, (shown, news): &(Mutex<Vec<u8>>, Condvar)) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = output.read(&mut buffer) {
        shown.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&buffer[..length]);
        news.notify_all();
    }
}
