//! The container's seccomp filter: compiled by the parent, loaded by init as its last step before exec.
//!
//! Loading comes after everything else that init does, since the filter may forbid it; only where `noNewPrivileges` is
//! off must it be loaded before capabilities are dropped (seccomp(2): CAP_SYS_ADMIN or no_new_privs).

use oci::runtime::LinuxSeccomp;
use serde::{Deserialize, Serialize};

/// A compiled filter: classic BPF, ready for seccomp(2), and its flags. Serializable, to cross the handshake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// `struct sock_filter`s, eight bytes each, native byte order.
    pub filter: Vec<u8>,
    /// SECCOMP_FILTER_FLAG_*.
    pub flags: u32,
}

/// A filter that cannot be made or loaded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// config.json asks for something impossible.
    #[error("seccomp: {0}")]
    Invalid(String),
    /// A system or library call failed.
    #[error("seccomp: {call}: {reason}")]
    Call {
        /// The call.
        call: String,
        /// Its answer.
        reason: String,
    },
}

/// Compiles config.json's `linux.seccomp` for the running kernel. No privileges needed, nothing is changed.
pub fn compile(seccomp: &LinuxSeccomp) -> Result<Program, Error> {
    let _ = seccomp;
    Err(Error::Invalid("filter compiler missing".into()))
}

impl Program {
    /// Puts the filter on this process, for good.
    pub fn load(&self) -> Result<(), Error> {
        Err(Error::Invalid("filter loader missing".into()))
    }
}
