//! Terminals and console sockets.

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::process::Stdio;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde_json::json;

use crate::bundle::Bundle;

/// What a console socket's owner does.
fn receive(listener: &UnixListener) -> (String, OwnedFd) {
    let (socket, _) = listener.accept().unwrap();
    let mut name = [0; 256];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message =
        recvmsg(&socket, &mut [rustix::io::IoSliceMut::new(&mut name)], &mut control, RecvFlags::empty())
            .unwrap();
    let fd = control.drain().find_map(|m| match m {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    (String::from_utf8(name[..message.bytes].to_vec()).unwrap(), fd.unwrap())
}

/// Reads a terminal's master until a word comes.
fn until(master: &mut std::fs::File, word: &str) -> String {
    let (mut text, mut buffer) = (String::new(), [0; 1024]);
    while !text.contains(word) {
        let count = master.read(&mut buffer).unwrap();
        text.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    text
}

#[test]
fn create_sends_the_master() {
    let mut bundle = Bundle::script("tty; stty size; ls -l /dev/console | wc -l; read x; echo got $x");
    bundle.config["process"]["terminal"] = json!(true);
    bundle.config["process"]["consoleSize"] = json!({"height": 33, "width": 77});
    let path = bundle.dir.path().join("console.sock");
    let listener = UnixListener::bind(&path).unwrap();
    bundle.verb(&["create", "--console-socket", path.to_str().unwrap()]).ok();
    let (name, fd) = receive(&listener);
    assert!(name.starts_with("/dev/pts/"), "{name}");
    bundle.verb(&["start"]).ok();
    let mut master = std::fs::File::from(fd);
    let text = until(&mut master, "1\r\n");
    assert!(text.starts_with("/dev/pts/0\r\n33 77\r\n") || text.contains("33 77"), "{text}");
    master.write_all(b"hi\n").unwrap();
    until(&mut master, "got hi");
}

#[test]
fn exec_with_a_console_socket() {
    let bundle = Bundle::new(&["sleep", "1000"]).started();
    let path = bundle.dir.path().join("console.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let flags = ["exec", "--tty", "--detach", "--console-socket", path.to_str().unwrap()];
    bundle.verb_with(&flags, &["sh", "-c", "tty; echo $$ | wc -l; read x"]).ok();
    let mut master = std::fs::File::from(receive(&listener).1);
    until(&mut master, "/dev/pts/");
}

#[test]
fn run_in_the_foreground_relays() {
    let mut bundle = Bundle::script("test -t 0 && test -t 1 && echo a terminal; read x; echo got $x; exit 6");
    bundle.config["process"]["terminal"] = json!(true);
    let mut child = bundle
        .command(&["run"])
        .arg(&bundle.id)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.as_mut().unwrap().write_all(b"word\n").unwrap();
    let mut out = String::new();
    child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(6));
    assert!(out.contains("a terminal\r\n") && out.contains("got word\r\n"), "{out}");
}

#[test]
fn much_typed_and_much_said_at_once() {
    let mut bundle = Bundle::script(
        "stty raw -echo; echo up; i=0; while [ $i -lt 20000 ]; do echo 0123456789; i=$((i+1)); done; \
         head -c 100000 | wc -c",
    );
    bundle.config["process"]["terminal"] = json!(true);
    let mut command = bundle.command(&["run"]);
    let mut child = command.arg(&bundle.id).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut first = [0; 2];
    stdout.read_exact(&mut first).unwrap();
    let typist = std::thread::spawn(move || stdin.write_all(&[b'x'; 100_000]).unwrap());
    let mut out = String::new();
    stdout.read_to_string(&mut out).unwrap();
    typist.join().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(out.trim_end().ends_with("100000"), "{}", &out[out.len() - 100..]);
}

#[test]
fn exec_in_the_foreground_relays() {
    let bundle = Bundle::new(&["sleep", "1000"]).started();
    let out = bundle.verb_with(&["exec", "-t"], &["sh", "-c", "tty; exit 3"]);
    assert_eq!(out.code, 3, "{}", out.err);
    assert!(out.out.contains("/dev/pts/0"), "{}", out.out);
}

#[test]
fn a_pidfd_is_sent() {
    let bundle = Bundle::new(&["sleep", "1000"]);
    let path = bundle.dir.path().join("pidfd.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let nowhere = Stdio::null;
    let mut command = bundle.command(&["create", "--pidfd-socket", path.to_str().unwrap()]);
    assert!(command.arg(&bundle.id).stdout(nowhere()).stderr(nowhere()).status().unwrap().success());
    let (name, fd) = receive(&listener);
    assert_eq!(name, "standard");
    sys::signal::pidfd_kill(fd.as_fd(), 9).unwrap();
    bundle.wait("the end", || bundle.status() == "stopped");
}

#[test]
fn a_terminal_in_a_user_namespace() {
    let mut bundle = Bundle::script("tty; ls -l /dev/console | wc -l; echo $(id -u) done");
    crate::namespaces::mapped(&mut bundle);
    bundle.config["process"]["terminal"] = json!(true);
    let said = bundle.run();
    assert!(said.out.contains("/dev/pts/0\r\n1\r\n0 done"), "{} {}", said.out, said.err);
    let mut bundle = Bundle::new(&["sleep", "1000"]);
    crate::namespaces::mapped(&mut bundle);
    let bundle = bundle.started();
    let said =
        bundle.verb_with(&["exec", "--tty", "--user", "1000:1000"], &["sh", "-c", "tty; echo x > /dev/tty"]);
    assert!(said.out.contains("/dev/pts/0\r\nx"), "{} {}", said.out, said.err);
}
