//! Telling systemd how far the daemon is (sd_notify(3)).

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Sends `message`, such as `READY=1`, if somebody asked for it. A manager that has gone is no reason to stop.
pub fn notify(message: &str) {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else { return };
    if let Err(error) = send(&name, message) {
        tracing::warn!(socket = ?name, %error, "the service manager could not be told {message}");
    }
}

fn send(name: &std::ffi::OsStr, message: &str) -> std::io::Result<()> {
    let text = name.to_string_lossy();
    let address = match text.strip_prefix('@') {
        Some(hidden) => SocketAddr::from_abstract_name(hidden)?,
        None => SocketAddr::from_pathname(name)?,
    };
    UnixDatagram::unbound()?.send_to_addr(message.as_bytes(), &address).map(drop)
}
