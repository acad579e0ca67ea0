//! Terminals and console sockets.

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};

use nix::pty::openpty;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde_json::json;

use crate::bundle::{Bundle, Said};

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

/// Runs a command whose standard error alone is a terminal, and tells what came out, on the terminal too.
fn on_a_terminal(mut command: Command) -> Said {
    let pty = openpty(None, None).unwrap();
    let child = command.stdout(Stdio::piped()).stderr(pty.slave).spawn().unwrap();
    drop(command);
    let output = child.wait_with_output().unwrap();
    let mut said = Said::of(&output);
    // It ends with an error, as its other side is closed.
    let mut text = Vec::new();
    let _ = std::fs::File::from(pty.master).read_to_end(&mut text);
    said.err = String::from_utf8(text).unwrap();
    said
}

/// A command without any terminal, not even a controlling one.
fn without_a_terminal(command: &Command) -> Said {
    let mut apart = Command::new("setsid");
    apart.arg("--wait").arg(command.get_program()).args(command.get_args());
    apart.current_dir(command.get_current_dir().unwrap()).stdin(Stdio::null());
    Said::of(&apart.output().unwrap())
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
    let pty = openpty(None, None).unwrap();
    let mut command = bundle.command(&["run"]);
    command.arg(&bundle.id).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(pty.slave);
    let mut child = command.spawn().unwrap();
    child.stdin.as_mut().unwrap().write_all(b"word\n").unwrap();
    let mut out = String::new();
    child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(6));
    // Lines end as the program ends them: what they are shown on does the rest.
    assert!(out.contains("a terminal\n") && out.contains("got word\n"), "{out}");
}

#[test]
fn much_typed_and_much_said_at_once() {
    let mut bundle = Bundle::script(
        "stty raw -echo; echo up; i=0; while [ $i -lt 20000 ]; do echo 0123456789; i=$((i+1)); done; \
         head -c 100000 | wc -c",
    );
    bundle.config["process"]["terminal"] = json!(true);
    let mut command = bundle.command(&["run"]);
    let pty = openpty(None, None).unwrap();
    command.arg(&bundle.id).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(pty.slave);
    let mut child = command.spawn().unwrap();
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
    let mut command = bundle.command(&["exec", "-t"]);
    command.arg(&bundle.id).args(["sh", "-c", "tty; exit 3"]);
    let out = on_a_terminal(command);
    assert_eq!(out.code, 3, "{}", out.err);
    assert_eq!(out.out, "/dev/pts/0\n");
}

/// What runc answers to every combination of a terminal, a console socket and staying or not; nothing is left of any.
#[test]
fn terminals_and_sockets_that_do_not_fit() {
    const NO_SOCKET: &str = "cannot allocate tty if runc will detach without setting console socket";
    const NO_USE: &str = "cannot use console socket if runc will not detach or allocate tty";
    const NO_TTY: &str = "open /dev/tty: no such device or address";
    for (terminal, flags, error) in [
        (true, "create", NO_SOCKET),
        (true, "run -d", NO_SOCKET),
        (true, "run", NO_TTY),
        (true, "run --console-socket /nowhere", NO_USE),
        (false, "run --console-socket /nowhere", NO_USE),
        (false, "run --detach --console-socket /nowhere", NO_USE),
        (false, "create --console-socket /nowhere", NO_USE),
        (true, "create --console-socket /nowhere", "/nowhere: no such file or directory"),
        (true, "run -d --console-socket /nowhere", "/nowhere: no such file or directory"),
    ] {
        let mut bundle = Bundle::new(&["true"]);
        bundle.config["process"]["terminal"] = json!(terminal);
        let words: Vec<&str> = flags.split(' ').collect();
        let said = without_a_terminal(bundle.command(&words).arg(&bundle.id));
        assert_eq!(said.code, 1, "{terminal} {flags}: {}", said.err);
        let prefix = format!("runc {} failed: ", words[0]);
        assert!(said.err.contains(&prefix) && said.err.contains(error), "{terminal} {flags}: {}", said.err);
        assert!(!bundle.state_dir().exists() && bundle.cgroups().is_empty(), "{terminal} {flags}");
    }
    let bundle = Bundle::new(&["sleep", "1000"]).started();
    for (flags, error) in [
        ("exec -t -d", NO_SOCKET),
        ("exec -t", NO_TTY),
        ("exec -t --console-socket /nowhere", NO_USE),
        ("exec --console-socket /nowhere", NO_USE),
        ("exec -d --console-socket /nowhere", NO_USE),
        ("exec -t -d --console-socket /nowhere", "/nowhere: no such file or directory"),
    ] {
        let words: Vec<&str> = flags.split(' ').collect();
        let said = without_a_terminal(bundle.command(&words).args([bundle.id.as_str(), "true"]));
        assert_eq!(said.code, 255, "{flags}: {}", said.err);
        assert!(said.err.contains("exec failed: ") && said.err.contains(error), "{flags}: {}", said.err);
    }
    assert_eq!(bundle.status(), "running");
}

/// A process file asks for a terminal by itself, whatever the flags say.
#[test]
fn a_process_file_asks_for_a_terminal() {
    let bundle = Bundle::new(&["sleep", "1000"]).started();
    let path = bundle.dir.path().join("process.json");
    let process = json!({"terminal": true, "cwd": "/", "args": ["tty"], "env": ["PATH=/bin"]});
    std::fs::write(&path, process.to_string()).unwrap();
    let mut command = bundle.command(&["exec", "--process", path.to_str().unwrap(), &bundle.id]);
    let said = without_a_terminal(&command);
    assert!(said.code == 255 && said.err.contains("open /dev/tty"), "{}", said.err);
    command.stdin(Stdio::null());
    assert_eq!(on_a_terminal(command).ok(), "/dev/pts/0\n");
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
    let mut command = bundle.command(&["run"]);
    command.arg(&bundle.id);
    let said = on_a_terminal(command);
    assert!(said.out.contains("/dev/pts/0\n1\n0 done"), "{} {}", said.out, said.err);
    let mut bundle = Bundle::new(&["sleep", "1000"]);
    crate::namespaces::mapped(&mut bundle);
    let bundle = bundle.started();
    let mut command = bundle.command(&["exec", "--tty", "--user", "1000:1000"]);
    command.arg(&bundle.id).args(["sh", "-c", "tty; echo x > /dev/tty"]);
    let said = on_a_terminal(command);
    assert!(said.out.contains("/dev/pts/0\nx"), "{} {}", said.out, said.err);
}
