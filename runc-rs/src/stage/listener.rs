//! Handing the listener of a system call filter to the supervisor that config.json names (config-linux.md, "Seccomp",
//! `listenerPath`, and "The Container Process State").

use std::os::fd::AsFd;

use oci::runtime::LinuxSeccomp;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use serde::Serialize;

use super::fds;
use crate::error::{Context, Error, Result};
use crate::steps::hooks::HookState;
use crate::steps::seccomp::listener_path;

/// What a supervisor reads beside the descriptor.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ContainerProcessState<'a> {
    oci_version: &'a str,
    /// What the descriptors are, in their order.
    fds: [&'a str; 1],
    pid: i32,
    #[serde(skip_serializing_if = "str::is_empty")]
    metadata: &'a str,
    state: HookState,
}

/// Takes the listener `fd` out of the process `pid`, and sends it. `state` is that of the container.
pub fn hand_over(pid: i32, fd: i32, seccomp: &LinuxSeccomp, state: HookState) -> Result<()> {
    let path = listener_path(seccomp).ok_or_else(|| Error::new("linux.seccomp.listenerPath is not set"))?;
    let process = Pid::from_raw(pid).ok_or_else(|| Error::new("no process"))?;
    let pidfd = pidfd_open(process, PidfdFlags::empty()).map_err(|e| Error::call("pidfd_open", e))?;
    // Not sent by the process itself: its filter may not let it.
    let listener = pidfd_getfd(&pidfd, fd, PidfdGetfdFlags::empty())
        .map_err(|e| Error::call("pidfd_getfd of the seccomp listener", e))?;
    let text = message(pid, seccomp, state)?;
    let socket = fds::connect(&path.to_string_lossy()).context("failed to connect to the seccomp agent")?;
    fds::send(socket, text.as_bytes(), listener.as_fd()).context("send the seccomp listener")
}

fn message(pid: i32, seccomp: &LinuxSeccomp, state: HookState) -> Result<String> {
    let metadata = seccomp.listener_metadata().as_deref().unwrap_or_default();
    let message = ContainerProcessState {
        oci_version: oci::runtime::SPEC_VERSION,
        fds: ["seccompFd"],
        pid,
        metadata,
        state,
    };
    serde_json::to_string(&message).map_err(|e| Error::new(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_the_specifications() {
        let seccomp: LinuxSeccomp = serde_json::from_str(
            r#"{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/s","listenerMetadata":"m"}"#,
        )
        .unwrap();
        let state =
            HookState { id: "c".into(), status: "creating".into(), pid: Some(7), ..HookState::default() };
        let value: serde_json::Value = serde_json::from_str(&message(9, &seccomp, state).unwrap()).unwrap();
        assert_eq!(value["ociVersion"], oci::runtime::SPEC_VERSION);
        assert_eq!((&value["fds"][0], &value["pid"]), (&"seccompFd".into(), &9.into()));
        assert_eq!((&value["metadata"], &value["state"]["status"]), (&"m".into(), &"creating".into()));
        assert_eq!((&value["state"]["id"], &value["state"]["pid"]), (&"c".into(), &7.into()));
    }
}
