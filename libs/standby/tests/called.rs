//! A program that stands by, and is called: this one, started a second time.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs::File;
use std::io::{Read, Write, pipe};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Pid, getpriority_process};
use standby::{Call, Refused, Standby, WORD, Waiting};

/// The number of a descriptor that the arguments name.
const NUMBER: i32 = 17;

/// The argument of this program in a user namespace.
const IN_A_NAMESPACE: &str = "in-a-user-namespace";

fn main() -> ExitCode {
    match Waiting::new() {
        Ok(Some(waiting)) => return program(waiting),
        Ok(None) => {}
        Err(error) => {
            return ExitCode::from(if error.to_string().contains("this is release") { 5 } else { 6 });
        }
    }
    if std::env::args().nth(1).is_some_and(|word| word == IN_A_NAMESPACE) {
        its_importance_comes_back();
        return ExitCode::SUCCESS;
    }
    becomes_what_it_is_called_for();
    ends_when_nobody_calls();
    says_that_there_is_no_room();
    refuses_another_release();
    its_importance_comes_back();
    its_importance_comes_back_in_a_user_namespace();
    println!("6 passed");
    ExitCode::SUCCESS
}

/// Tells what it has become.
fn program(waiting: Waiting) -> ExitCode {
    assert_eq!(Waiting::whom(), "the test");
    if !waiting.go_ahead().unwrap() {
        return ExitCode::from(3);
    }
    let Some(words) = waiting.call().unwrap() else { return ExitCode::from(4) };
    let shown = std::fs::read("/proc/self/cmdline").unwrap();
    let shown = String::from_utf8(shown).unwrap();
    let (_, shown) = shown.split_once('\0').unwrap();
    let mut stdin = String::new();
    std::io::stdin().read_to_string(&mut stdin).unwrap();
    let (set, removed) = (std::env::var("STANDBY_SET"), std::env::var_os("STANDBY_REMOVED"));
    let mut named = File::from(sys::spawn_fds::inherited_fd(NUMBER).unwrap());
    writeln!(named, "through the number").unwrap();
    let here = std::env::current_dir().unwrap();
    println!("{words:?} {:?} {stdin:?} {set:?} {removed:?} {here:?}", shown.trim_end_matches('\0'));
    ExitCode::from(7)
}

fn start(room: usize) -> (Standby, Child) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let standby = Standby::prepare(&mut command, "the test".as_ref(), room).unwrap();
    let child = command.env("STANDBY_REMOVED", "1").spawn().unwrap();
    (standby, child)
}

fn becomes_what_it_is_called_for() {
    let (standby, mut child) = start(200);
    standby.go_ahead().unwrap();
    let (mut output, stdout) = pipe().unwrap();
    let (stdin, mut input) = pipe().unwrap();
    let (mut numbered, writer) = pipe().unwrap();
    let mut later = Command::new("named otherwise");
    later.args(["-id", "c 1", ""]).env("STANDBY_SET", "a=b").env_remove("STANDBY_REMOVED");
    let descriptors = [(stdin.as_fd(), 0), (stdout.as_fd(), 1), (writer.as_fd(), NUMBER)];
    standby.call(&Call::of(&later, Path::new("/usr"), &descriptors).unwrap()).unwrap();
    drop((stdin, stdout, writer));
    input.write_all(b"hello").unwrap();
    drop(input);
    let (mut told, mut line) = (String::new(), String::new());
    output.read_to_string(&mut told).unwrap();
    numbered.read_to_string(&mut line).unwrap();
    assert_eq!(told, "[\"-id\", \"c 1\", \"\"] \"-id\\0c 1\" \"hello\" Ok(\"a=b\") None \"/usr\"\n");
    assert_eq!(line, "through the number\n");
    assert_eq!(child.wait().unwrap().code(), Some(7));
}

fn ends_when_nobody_calls() {
    let (standby, mut child) = start(200);
    drop(standby);
    assert_eq!(child.wait().unwrap().code(), Some(3));
    let (standby, mut child) = start(200);
    standby.go_ahead().unwrap();
    drop(standby);
    assert_eq!(child.wait().unwrap().code(), Some(4));
    let (standby, mut child) = start(200);
    child.kill().unwrap();
    child.wait().unwrap();
    let call = Call::of(&Command::new("x"), Path::new("/"), &[]).unwrap();
    assert!(matches!(standby.call(&call), Err(Refused::Gone(_))));
}

fn says_that_there_is_no_room() {
    let (standby, mut child) = start(40);
    let mut later = Command::new("x");
    later.arg("y".repeat(40));
    let call = Call::of(&later, Path::new("/"), &[]).unwrap();
    assert!(matches!(standby.call(&call), Err(Refused::TooLong)));
    assert_eq!(child.wait().unwrap().code(), Some(3));
}

fn refuses_another_release() {
    for (release, code) in [(env!("CARGO_PKG_VERSION"), 3), ("0.0.0-other", 5), ("", 5)] {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([WORD, &format!("{release} the test")]).stdin(Stdio::from(theirs));
        let mut child = command.spawn().unwrap();
        drop((command, ours));
        assert_eq!(child.wait().unwrap().code(), Some(code), "{release:?}");
    }
}

/// Whatever this process may, one that stood by is as important as it was.
fn its_importance_comes_back() {
    let nice = |child: &Child| getpriority_process(Some(Pid::from_child(child))).unwrap();
    let own = getpriority_process(None).unwrap();
    let (standby, mut child) = start(200);
    Standby::at_leisure(child.id());
    standby.hurry(child.id()).unwrap();
    assert_eq!(nice(&child), own);
    // Somebody else may have the number of one that has ended.
    child.kill().unwrap();
    child.wait().unwrap();
    let (_other, mut other) = start(200);
    standby.hurry(other.id()).unwrap_err();
    other.kill().unwrap();
    other.wait().unwrap();
}

fn its_importance_comes_back_in_a_user_namespace() {
    let within = |program: &Path| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user"]).arg(program).arg(IN_A_NAMESPACE);
        command.stdin(Stdio::null()).status()
    };
    if within(Path::new("true")).is_ok_and(|status| status.success()) {
        assert!(within(&std::env::current_exe().unwrap()).unwrap().success());
    }
}
