//! The program: found, waited for, executed.

use std::convert::Infallible;
use std::ffi::CString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use rustix::fs::{Access, AtFlags, CWD};
use rustix::io::Errno;

use super::Context;
use crate::error::{Context as _, Error, Result, io_text};
use crate::plan::process::variable;
use crate::stage::channel::Message;

/// Looks for the program as Go's `exec.LookPath` does, whose texts callers match.
pub fn find(context: &mut Context<'_>) -> Result<()> {
    let name = context.process.args.first().map(String::as_str).unwrap_or_default();
    let fails = |why: String| Error::new(format!("exec: {name:?}: {why}"));
    let found = if name.contains('/') {
        usable(Path::new(name)).map_err(|why| match why {
            Refusal::Missing(e) => fails(format!("stat {name}: {e}")),
            other => fails(other.text()),
        })?;
        PathBuf::from(name)
    } else {
        search(name, variable(&context.env, "PATH").unwrap_or_default())
            .ok_or_else(|| fails("executable file not found in $PATH".into()))?
    };
    // The permission bits may say yes where the mount, or a security module, says no.
    // Anything else than a refusal is exec's to say.
    if let Err(e @ (Errno::ACCESS | Errno::PERM)) =
        rustix::fs::accessat(CWD, &found, Access::EXEC_OK, AtFlags::EACCESS)
    {
        return Err(fails(crate::error::errno_text(e.raw_os_error())));
    }
    context.program = Some(found);
    Ok(())
}

enum Refusal {
    Missing(String),
    Directory,
    Permission,
}

impl Refusal {
    fn text(&self) -> String {
        match self {
            Refusal::Missing(text) => text.clone(),
            Refusal::Directory => "is a directory".into(),
            Refusal::Permission => "permission denied".into(),
        }
    }
}

fn usable(path: &Path) -> std::result::Result<(), Refusal> {
    let meta = std::fs::metadata(path).map_err(|e| Refusal::Missing(io_text(&e)))?;
    if meta.is_dir() {
        return Err(Refusal::Directory);
    }
    if meta.permissions().mode() & 0o111 == 0 {
        return Err(Refusal::Permission);
    }
    Ok(())
}

fn search(name: &str, path: &str) -> Option<PathBuf> {
    if name.is_empty() {
        return None;
    }
    let mut candidates =
        path.split(':').filter(|dir| dir.starts_with('/')).map(|dir| Path::new(dir).join(name));
    candidates.find(|candidate| usable(candidate).is_ok())
}

/// Tells the parent that the container is created, and waits for `start`.
pub fn await_start(context: &mut Context<'_>) -> Result<()> {
    let gate = context.gate.take().ok_or_else(|| Error::new("no exec fifo"))?;
    if let Some(channel) = context.channel.take() {
        channel.send(&Message::Done)?;
    }
    gate.wait().context("wait for start")
}

/// Executes the program. Returns only when that fails.
pub fn execute(context: &mut Context<'_>) -> Result<()> {
    let program = context.program.as_deref().ok_or_else(|| Error::new("no program"))?;
    let args = c_strings(&context.process.args)?;
    let env = c_strings(&context.env)?;
    let path = CString::new(program.as_os_str().as_encoded_bytes()).map_err(|e| Error::new(e.to_string()))?;
    sys::signal::reset_all().context("reset signals")?;
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None).context("unblock signals")?;
    match nix::unistd::execve(&path, &args, &env) {
        Ok(never) => unreachable(never),
        Err(e) => Err(Error::call(format_args!("exec {}", program.display()), e)),
    }
}

fn unreachable(never: Infallible) -> Result<()> {
    match never {}
}

fn c_strings(all: &[String]) -> Result<Vec<CString>> {
    all.iter()
        .map(|s| CString::new(s.as_bytes()).map_err(|_| Error::new(format!("{s:?} contains a nul byte"))))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn search_takes_the_first_that_can_run() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        for (dir, mode) in [(&a, 0o644), (&b, 0o755)] {
            std::fs::create_dir(dir).unwrap();
            std::fs::write(dir.join("tool"), "").unwrap();
            std::fs::set_permissions(dir.join("tool"), PermissionsExt::from_mode(mode)).unwrap();
        }
        let path = format!("relative::{}:{}", a.display(), b.display());
        assert_eq!(search("tool", &path), Some(b.join("tool")));
        assert_eq!(search("none", &path), None);
        assert_eq!(search("", &path), None);
    }

    #[test]
    fn refusals() {
        assert!(matches!(usable(Path::new("/")), Err(Refusal::Directory)));
        assert!(matches!(usable(Path::new("/etc/passwd")), Err(Refusal::Permission)));
        assert!(
            matches!(usable(Path::new("/no")), Err(Refusal::Missing(text)) if text == "no such file or directory")
        );
    }
}
