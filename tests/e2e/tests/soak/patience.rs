//! Commands that are given some time, and looked at before they are ended.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use harness::Outcome;

/// How often to look whether it has ended: nothing that is waited for with a limit tells of it.
const LOOK: Duration = Duration::from_millis(2);

/// Runs it to its end. When that does not come within the first of `limits`, `slow` is told its pid, and goes on; when it does not come within
/// the second, so is `late`, and what that fails with is the outcome; by then it is killed.
pub fn of(
    command: &mut Command,
    limits: [Duration; 2],
    slow: impl FnOnce(u32),
    late: impl FnOnce(u32) -> Result<()>,
) -> Result<Outcome> {
    let what = format!("{command:?}");
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("run {what}"))?;
    let (stdout, stderr) = (reader(child.stdout.take()), reader(child.stderr.take()));
    let read = |reader: JoinHandle<String>| reader.join().unwrap_or_default();
    let begun = Instant::now();
    let mut ended = ends(&mut child, begun, limits[0])?;
    if !ended {
        slow(child.id());
        ended = ends(&mut child, begun, limits[1])?;
    }
    if !ended {
        let said = late(child.id());
        child.kill()?;
        child.wait()?;
        let said = said.err().map_or_else(String::new, |error| format!("{error:#}"));
        bail!("{what} does not end, and said {:?} and {:?}: {said}", read(stdout), read(stderr));
    }
    let code = child.wait()?.code().unwrap_or(-1);
    Ok(Outcome { what, code, stdout: read(stdout), stderr: read(stderr) })
}

fn ends(child: &mut Child, begun: Instant, limit: Duration) -> Result<bool> {
    while child.try_wait()?.is_none() {
        if begun.elapsed() > limit {
            return Ok(false);
        }
        std::thread::sleep(LOOK);
    }
    Ok(true)
}

fn reader(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read until it broke counts.
        let _ = pipe.map(|mut pipe| pipe.read_to_end(&mut bytes));
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
