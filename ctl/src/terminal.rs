//! This side's terminal: raw while a container's is shown on it, and as it was again afterwards.

use std::os::fd::AsFd;

use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use proto_engine::v1;

/// Raw mode for as long as this lives.
pub struct Raw {
    before: Termios,
}

impl Raw {
    /// Makes standard input raw: every key goes through as it is.
    pub fn enter() -> nix::Result<Raw> {
        let before = tcgetattr(std::io::stdin())?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(std::io::stdin(), SetArg::TCSANOW, &raw)?;
        Ok(Raw { before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // The terminal may have gone; then there is nothing to put back.
        let _ = tcsetattr(std::io::stdin(), SetArg::TCSANOW, &self.before);
    }
}

/// Is standard input a terminal?
pub fn stdin_is_terminal() -> bool {
    std::io::IsTerminal::is_terminal(&std::io::stdin())
}

/// Is standard output a terminal?
pub fn stdout_is_terminal() -> bool {
    std::io::IsTerminal::is_terminal(&std::io::stdout())
}

/// The size of the terminal that standard output is; `None` when it is none.
pub fn size() -> Option<v1::Size> {
    let size = rustix::termios::tcgetwinsize(std::io::stdout().as_fd()).ok()?;
    (size.ws_col > 0 && size.ws_row > 0)
        .then_some(v1::Size { width: size.ws_col.into(), height: size.ws_row.into() })
}
