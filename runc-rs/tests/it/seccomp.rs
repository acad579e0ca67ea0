//! A supervisor that decides over system calls.

use std::io::Read;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;

use libseccomp::{ScmpNotifReq, ScmpNotifResp};
use rustix::io::IoSliceMut;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde_json::{Value, json};

use crate::bundle::Bundle;

/// A supervisor's socket.
struct Supervisor(UnixListener);

impl Supervisor {
    /// One that is asked for `mkdir`.
    fn of(bundle: &mut Bundle) -> Self {
        let path = bundle.dir.path().join("agent.sock");
        bundle.config["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
            "listenerPath": path,
            "listenerMetadata": "of the test",
            "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"}]
        });
        Supervisor(UnixListener::bind(path).unwrap())
    }

    fn receive(&self) -> (Value, OwnedFd) {
        let (mut stream, _) = self.0.accept().unwrap();
        let mut text = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let parts = &mut [IoSliceMut::new(&mut text)];
        let size = recvmsg(&stream, parts, &mut control, RecvFlags::CMSG_CLOEXEC).unwrap().bytes;
        let fd = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        assert_eq!(stream.read(&mut [0]).unwrap(), 0, "one message, and no more");
        (serde_json::from_slice(&text[..size]).unwrap(), fd.unwrap())
    }
}

/// Answers one call as the supervisor of a container whose root is on the host's: it makes the directory itself, or says
/// no.
fn answer(listener: &OwnedFd, errno: i32) {
    let request = ScmpNotifReq::receive(listener.as_raw_fd()).unwrap();
    let response = match errno {
        0 => ScmpNotifResp::new_val(request.id, 0, libseccomp::ScmpNotifRespFlags::empty()),
        errno => ScmpNotifResp::new_error(request.id, -errno, libseccomp::ScmpNotifRespFlags::empty()),
    };
    response.respond(listener.as_raw_fd()).unwrap();
}

#[test]
fn a_supervisor_decides() {
    for no_new_privileges in [true, false] {
        let mut bundle = Bundle::script("mkdir /a; echo $?; mkdir /b; echo $?; ls /proc/1/fd");
        bundle.config["process"]["noNewPrivileges"] = json!(no_new_privileges);
        bundle.config["annotations"] = json!({"a": "b"});
        let supervisor = Supervisor::of(&mut bundle);
        let id = bundle.id.clone();
        let agent = std::thread::spawn(move || {
            let (state, listener) = supervisor.receive();
            answer(&listener, 0);
            answer(&listener, 95);
            state
        });
        let said = bundle.run();
        assert!(said.out.starts_with("0\n1\n0\n1\n2\n"), "{} {}", said.out, said.err);
        assert!(said.err.contains("not supported") || said.err.contains("Not supported"), "{}", said.err);
        let state = agent.join().unwrap();
        assert_eq!(state["fds"], json!(["seccompFd"]));
        assert_eq!((&state["metadata"], &state["state"]["id"]), (&json!("of the test"), &json!(id)));
        assert_eq!(
            (&state["state"]["status"], &state["state"]["annotations"]["a"]),
            (&json!("creating"), &json!("b"))
        );
        assert_eq!(state["pid"], state["state"]["pid"]);
    }
}

#[test]
fn an_exec_has_a_listener_of_its_own() {
    let mut bundle = Bundle::new(&["sleep", "1000"]);
    let supervisor = Supervisor::of(&mut bundle);
    let agent = std::thread::spawn(move || {
        let first = supervisor.receive();
        let (state, listener) = supervisor.receive();
        answer(&listener, 1);
        (first.0, state)
    });
    let bundle = bundle.started();
    let said = bundle.exec(&["mkdir", "/x"]);
    assert_eq!(said.code, 1, "{}", said.err);
    assert!(said.err.contains("not permitted"), "{}", said.err);
    let (first, state) = agent.join().unwrap();
    assert_eq!(state["state"]["pid"], json!(bundle.pid()));
    assert_eq!(state["state"]["status"], "running");
    assert_ne!(first["pid"], state["pid"]);
}

#[test]
fn nobody_to_ask_is_an_error() {
    let mut bundle = Bundle::new(&["true"]);
    drop(Supervisor::of(&mut bundle));
    let said = bundle.run();
    assert_eq!(said.code, 1);
    assert!(said.err.contains("failed to connect to the seccomp agent"), "{}", said.err);
    let seccomp = &mut bundle.config["linux"]["seccomp"];
    seccomp["syscalls"][0]["names"] = json!(["write"]);
    assert!(bundle.run().err.contains("SCMP_ACT_NOTIFY cannot be used for the write syscall"));
    bundle.config["linux"]["seccomp"].as_object_mut().unwrap().remove("listenerPath");
    assert!(bundle.run().err.contains("linux.seccomp.listenerPath is not set"));
}
