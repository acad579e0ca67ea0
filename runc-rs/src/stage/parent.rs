//! The command's part of a start: answering the new process.

use std::path::Path;
use std::sync::OnceLock;

use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;
use rustix::process::{Rlimit as RawRlimit, prlimit};

use super::channel::{Channel, Message};
use crate::error::{Context, Error, Result};
use crate::plan::process::Rlimit;
use crate::procfs::Procfs;

/// What is due when the new process says where it is.
pub trait Answers {
    /// Its mounts are there.
    fn mounted(&mut self) -> Result<()>;
    /// It is set up.
    fn ready(&mut self) -> Result<()>;
    /// Its filter's notifications come out of this descriptor of its.
    fn listener(&mut self, fd: i32) -> Result<()>;
    /// Whether it waits for `start` once it is set up; else it executes the program, which closes the channel.
    fn awaits_start(&self) -> bool;
    /// How it ended, when it has.
    fn fate(&self) -> String;
    /// Whether it is a container's first process: of a later one, callers know the failures without a word about init.
    fn is_init(&self) -> bool {
        true
    }
}

/// Answers until the program runs, or init waits for `start`.
pub fn serve(channel: &Channel, answers: &mut impl Answers) -> Result<()> {
    let mut ready = false;
    loop {
        match channel.receive()? {
            Some(Message::Mounted) => answers.mounted()?,
            Some(Message::Ready) => {
                answers.ready()?;
                ready = true;
            }
            Some(Message::Listener { fd }) => answers.listener(fd)?,
            Some(Message::Done) => return Ok(()),
            None if ready && !answers.awaits_start() => return Ok(()),
            None => {
                return Err(Error::new(format!(
                    "container init ended before it was set up: {}",
                    answers.fate()
                )));
            }
            Some(Message::Failed { text }) if answers.is_init() => {
                return Err(Error::new(text)).context("error during container init");
            }
            Some(Message::Failed { text }) => return Err(Error::new(text)),
            Some(other) => return Err(Error::new(format!("unexpected message {other:?}"))),
        }
        // Init goes on meanwhile: should it have ended, its last word is what comes next.
        if let Err(e) = channel.send(&Message::Go) {
            crate::log::debug(e.to_string());
            ready = false;
        }
    }
}

/// Why a new process could not be prepared: if it has ended meanwhile, what it said last tells more than that it does not answer.
pub fn last_word(channel: &Channel, e: Error) -> Error {
    match channel.pending() {
        Ok(Some(Message::Failed { text })) => Error::new(text),
        _ => e,
    }
}

/// Sets another process's resource limits: before it is let go, and from here, where the rights to raise them are.
pub fn set_rlimits(pid: i32, limits: &[Rlimit]) -> Result<()> {
    let bound = |n: u64| (n != u64::MAX).then_some(n);
    for limit in limits {
        let raw = RawRlimit { current: bound(limit.soft), maximum: bound(limit.hard) };
        prlimit(rustix::process::Pid::from_raw(pid), limit.resource, raw)
            .map_err(|e| Error::call(format_args!("error setting rlimit {:?}", limit.resource), e))?;
    }
    Ok(())
}

/// Sets how likely another process is to be killed for lack of memory.
pub fn set_oom_score(procfs: &Procfs, pid: i32, score: Option<i32>) -> Result<()> {
    match score {
        Some(score) => procfs.write(&format!("{pid}/oom_score_adj"), score.to_string().as_bytes()),
        None => Ok(()),
    }
}

/// Writes a process id, so that a reader finds all of it or no file.
pub fn write_pid_file(path: &str, pid: i32) -> Result<()> {
    let path = Path::new(path);
    let name = path.file_name().ok_or_else(|| Error::new(format!("invalid pid-file {path:?}")))?;
    let temporary = path.with_file_name(format!(".{}", name.to_string_lossy()));
    std::fs::write(&temporary, pid.to_string()).with_context(|| format!("open {}", temporary.display()))?;
    std::fs::rename(&temporary, path).with_context(|| format!("rename {}", temporary.display()))
}

/// How a child has ended; it is left to be collected.
pub fn fate(pid: i32) -> String {
    match waitid(Id::Pid(Pid::from_raw(pid)), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) {
        Ok(WaitStatus::Exited(_, code)) => format!("exit status {code}"),
        Ok(WaitStatus::Signaled(_, signal, _)) => format!("signal: {signal}"),
        other => format!("{other:?}"),
    }
}

/// Ends a process that could not be set up, and waits until it is gone.
pub fn kill(pid: i32) {
    let _ = sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL as i32);
    let _ = waitpid(Pid::from_raw(pid), None);
}

/// The descriptors after the standard ones that the program gets: those of `LISTEN_FDS`, and `--preserve-fds` more.
/// Everything else is marked close-on-exec here and now (CVE-2024-21626), before this program opens anything.
pub fn preserve_fds(asked: u32) -> Result<u32> {
    let count = listen_fds()
        .checked_add(asked)
        .filter(|n| *n <= 1 << 16)
        .ok_or_else(|| Error::new("too many descriptors"))?;
    for fd in 3..3 + count {
        if !sys::fd::is_open(fd.cast_signed()) {
            return Err(Error::new(format!("unable to stat preserved-fd {} (of {count})", fd - 3)));
        }
    }
    sys::fd::cloexec_from(3 + count).context("close_range")?;
    Ok(count)
}

/// How many descriptors a service manager gave to this very process: who finds the variables of another in its environment has no such
/// descriptors, and leaves them alone (sd_listen_fds(3)). Asked first by the command; the new process has the answer from it.
fn listen_fds() -> u32 {
    static COUNT: OnceLock<u32> = OnceLock::new();
    let number = |name| std::env::var(name).ok()?.parse::<u32>().ok();
    let is_own = || number("LISTEN_PID") == Some(std::process::id());
    *COUNT.get_or_init(|| number("LISTEN_FDS").filter(|_| is_own()).unwrap_or(0))
}

/// Variables of the command's environment that are handed on.
pub fn handed_on() -> Vec<String> {
    match listen_fds() {
        0 => Vec::new(),
        count => vec![format!("LISTEN_FDS={count}"), "LISTEN_PID=1".to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Log(Vec<&'static str>, bool);

    impl Answers for Log {
        fn mounted(&mut self) -> Result<()> {
            self.0.push("mounted");
            Ok(())
        }
        fn ready(&mut self) -> Result<()> {
            self.0.push("ready");
            Ok(())
        }
        fn listener(&mut self, fd: i32) -> Result<()> {
            assert_eq!(fd, 9);
            self.0.push("listener");
            Ok(())
        }
        fn awaits_start(&self) -> bool {
            self.1
        }
        fn fate(&self) -> String {
            "signal: SIGKILL".into()
        }
    }

    fn talk(messages: &[Message]) -> (Result<()>, Vec<&'static str>) {
        talk_with(messages, false)
    }

    fn talk_with(messages: &[Message], awaits_start: bool) -> (Result<()>, Vec<&'static str>) {
        let (ours, theirs) = Channel::pair().unwrap();
        for message in messages {
            theirs.send(message).unwrap();
        }
        rustix::net::shutdown(&theirs, rustix::net::Shutdown::Write).unwrap();
        let mut log = Log(Vec::new(), awaits_start);
        (serve(&ours, &mut log), log.0)
    }

    #[test]
    fn an_init_that_ended_before_it_was_let_go_has_executed_nothing() {
        let (ours, theirs) = Channel::pair().unwrap();
        theirs.send(&Message::Ready).unwrap();
        drop(theirs);
        let error = serve(&ours, &mut Log(Vec::new(), false)).unwrap_err().to_string();
        assert!(error.ends_with("before it was set up: signal: SIGKILL"), "{error}");
    }

    #[test]
    fn the_way_it_goes_well() {
        let (result, log) = talk(&[Message::Mounted, Message::Ready]);
        result.unwrap();
        assert_eq!(log, ["mounted", "ready"]);
        let (result, log) =
            talk_with(&[Message::Mounted, Message::Ready, Message::Listener { fd: 9 }, Message::Done], true);
        result.unwrap();
        assert_eq!(log, ["mounted", "ready", "listener"]);
        let silent = talk_with(&[Message::Mounted, Message::Ready], true).0.unwrap_err().to_string();
        assert!(silent.ends_with("before it was set up: signal: SIGKILL"), "{silent}");
    }

    #[test]
    fn failures() {
        let text = |m: &[Message]| talk(m).0.unwrap_err().to_string();
        assert!(text(&[Message::Mounted]).contains("before it was set up"));
        let failed = Message::Failed { text: "exec: \"x\": no".into() };
        assert_eq!(text(&[Message::Ready, failed]), "error during container init: exec: \"x\": no");
        assert!(text(&[Message::Go]).contains("unexpected"));
    }

    #[test]
    fn pid_files_have_no_line_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pid");
        write_pid_file(path.to_str().unwrap(), 42).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"42");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(write_pid_file("/no/such/dir/pid", 1).unwrap_err().to_string().contains("/no/such/dir"));
    }
}
