//! A container that can be written down, and what tells how it fares.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde_json::json;
use vm::{Bundle, until};

/// Counts in its memory, and says each number.
pub const COUNT: &str = "i=0; while :; do i=$((i+1)); echo $i; echo $i >/out/count; sleep 0.1; done";

/// A bundle whose container has a directory of the host's at /out.
pub struct Place {
    /// What is in it.
    pub bundle: Bundle,
    /// Where it is.
    pub dir: PathBuf,
}

impl Place {
    pub fn new(flags: &[&str], script: &str) -> Result<Place> {
        let mut bundle = Bundle::new(flags, script)?;
        let dir = bundle.write()?;
        fs::create_dir(dir.join("out"))?;
        mount(&mut bundle, "/out", &dir.join("out"), &["bind"])?;
        Ok(Place { bundle, dir })
    }

    pub fn path(&self, name: &str) -> String {
        self.dir.join(name).to_string_lossy().into_owned()
    }

    /// Runs a verb whose streams the container's processes keep: criu does not follow them to files of the host's. What the
    /// executor says goes to a log.
    pub fn verb(&self, args: &[&str], stdout: impl Into<Stdio>) -> Result<()> {
        let mut command = self.bundle.command(&["--log", &self.path("log")]);
        command.args(args).current_dir(&self.dir).stdout(stdout).stderr(Stdio::null());
        ensure!(command.status()?.success(), "{args:?}: {}", self.log());
        Ok(())
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    pub fn run(&self, stdout: impl Into<Stdio>) -> Result<()> {
        self.bundle.write()?;
        self.verb(&["run", "--detach", &self.bundle.id], stdout)
    }

    pub fn checkpoint(&self, flags: &[&str]) -> Result<()> {
        self.verb(&[&["checkpoint"], flags, &[&self.bundle.id]].concat(), Stdio::null())
    }

    pub fn restore(&self, flags: &[&str], stdout: impl Into<Stdio>) -> Result<()> {
        self.verb(&[&["restore", "--detach"], flags, &[&self.bundle.id]].concat(), stdout)
    }

    /// The number that it has come to, as the file says.
    pub fn count(&self) -> u32 {
        let text = fs::read_to_string(self.dir.join("out/count")).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    }

    pub fn counts_on(&self, from: u32) -> Result<()> {
        until("it counts on", || Ok(self.count() > from + 2))
    }

    pub fn status(&self) -> Result<String> {
        let state: serde_json::Value = serde_json::from_str(&self.bundle.ok(&["state", "ID"])?)?;
        Ok(state["status"].as_str().unwrap_or_default().to_owned())
    }

    pub fn pid(&self) -> Result<i64> {
        self.bundle.state()?["init_process_pid"].as_i64().context("no pid in state.json")
    }
}

/// Adds a bind mount.
pub fn mount(bundle: &mut Bundle, destination: &str, source: &Path, options: &[&str]) -> Result<()> {
    let mounts = bundle.config["mounts"].as_array_mut().context("no mounts")?;
    mounts.push(json!({"destination": destination, "source": source, "type": "bind", "options": options}));
    Ok(())
}

/// What a console socket's owner does.
pub fn receive(listener: &UnixListener) -> Result<File> {
    let (socket, _) = listener.accept()?;
    let mut name = [0; 256];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    recvmsg(&socket, &mut [rustix::io::IoSliceMut::new(&mut name)], &mut control, RecvFlags::empty())?;
    let fd = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    Ok(File::from(fd.context("no terminal came")?))
}

/// Reads a terminal's master until a word comes.
pub fn hears(master: &mut File, word: &str) -> Result<()> {
    let (mut text, mut buffer) = (String::new(), [0; 1024]);
    while !text.contains(word) {
        let count = master.read(&mut buffer).with_context(|| format!("after {text:?}"))?;
        text.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    Ok(())
}
