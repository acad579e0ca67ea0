//! Telling a service manager that the program is ready.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use rustix::io::IoSliceMut;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use crate::bundle::Bundle;

/// A service manager's socket.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Manager {
    fn new(bundle: &Bundle) -> Self {
        let path = bundle.dir.path().join("manager.sock");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        Manager { socket, path }
    }

    fn hear(&self) -> (String, Option<OwnedFd>) {
        let mut text = [0; 512];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let got =
            recvmsg(&self.socket, &mut [IoSliceMut::new(&mut text)], &mut control, RecvFlags::CMSG_CLOEXEC)
                .unwrap();
        let fd = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        (String::from_utf8_lossy(&text[..got.bytes]).into_owned(), fd)
    }
}

fn program() -> Bundle {
    // Busybox has no client for datagram sockets: the test itself says that the program is ready.
    let bundle = Bundle::script("echo $NOTIFY_SOCKET > /out/name; sleep 1000");
    std::fs::create_dir(bundle.dir.path().join("out")).unwrap();
    bundle
}

fn with_out(mut bundle: Bundle) -> Bundle {
    let out = bundle.dir.path().join("out");
    bundle.config["root"]["readonly"] = serde_json::json!(false);
    bundle.mount(serde_json::json!({"destination": "/out", "source": out, "options": ["bind"]}));
    bundle
}

fn spawn(bundle: &Bundle, manager: &Manager, args: &[&str]) -> Child {
    let mut command = bundle.command(args);
    command.arg(&bundle.id).env("NOTIFY_SOCKET", &manager.path).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

fn say_ready(bundle: &Bundle) {
    let name = bundle.dir.path().join("out/name");
    bundle.wait("the program", || std::fs::read_to_string(&name).is_ok_and(|t| t.ends_with('\n')));
    assert_eq!(std::fs::read_to_string(name).unwrap(), "/run/notify/notify.sock\n");
    let socket = UnixDatagram::unbound().unwrap();
    let inside = bundle.state_dir().join("notify/notify.sock");
    socket.send_to(b"STATUS=nearly\n", &inside).unwrap();
    socket.send_to(b"STATUS=there\nREADY=1\n", &inside).unwrap();
}

fn hears_it_all(manager: &Manager, pid: &str) {
    assert_eq!(manager.hear().0, "READY=1\n");
    assert_eq!(manager.hear().0, format!("MAINPID={pid}\n"));
}

#[test]
fn a_detached_run_waits_for_it() {
    let bundle = with_out(program());
    let manager = Manager::new(&bundle);
    let mut child = spawn(&bundle, &manager, &["run", "--detach"]);
    say_ready(&bundle);
    hears_it_all(&manager, &bundle.pid().to_string());
    let (text, barrier) = manager.hear();
    assert_eq!(text, "BARRIER=1");
    assert!(child.try_wait().unwrap().is_none(), "it waits for the barrier");
    drop(barrier.unwrap());
    assert!(child.wait().unwrap().success());
    let mounts = bundle.exec(&["grep", "/run/notify", "/proc/mounts"]).ok();
    assert!(mounts.contains("ro,nosuid,nodev,noexec"), "{mounts}");
}

#[test]
fn start_hands_it_on() {
    let bundle = with_out(program());
    let manager = Manager::new(&bundle);
    assert!(spawn(&bundle, &manager, &["create"]).wait().unwrap().success());
    let mut child = spawn(&bundle, &manager, &["start"]);
    say_ready(&bundle);
    hears_it_all(&manager, &bundle.pid().to_string());
    drop(manager.hear());
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_command_that_stays_is_the_main_process() {
    let bundle = with_out(program());
    let manager = Manager::new(&bundle);
    let mut child = spawn(&bundle, &manager, &["run"]);
    say_ready(&bundle);
    hears_it_all(&manager, &child.id().to_string());
    bundle.verb(&["kill", "--all"]).ok();
    bundle.verb_with(&["kill"], &["KILL"]).ok();
    child.wait().unwrap();
}

#[test]
fn a_program_that_ends_without_a_word_is_not_waited_for() {
    let bundle = Bundle::new(&["true"]);
    let manager = Manager::new(&bundle);
    let mut child = spawn(&bundle, &manager, &["run", "--detach"]);
    assert!(child.wait().unwrap().success());
    manager.socket.set_nonblocking(true).unwrap();
    assert!(manager.socket.recv(&mut [0; 8]).is_err());
}
