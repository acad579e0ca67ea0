//! A process that runs jobs in a stack's cgroup, and times them.
//!
//! A process, so that everything it starts is counted with the stack and nothing has to be moved while a clock runs; and so that it can
//! have a mount namespace without version 2 of cgroups, which crun refuses beside version 1.

use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use nix::mount::{MntFlags, MsFlags};
use nix::sched::CloneFlags;

use super::job::{Answer, Job, KEPT, Step};
use super::tree::Tree;

/// Where version 2 is mounted beside version 1.
const UNIFIED: &str = "/sys/fs/cgroup/unified";

/// What a worker sees of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// All that this program sees.
    Whole,
    /// A mount namespace of its own, without version 2 of cgroups where that is mounted beside version 1.
    OneVersion,
}

/// The process, as it is asked.
pub struct Worker {
    child: Child,
    jobs: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Worker {
    /// Starts one in a tree.
    pub fn start(tree: &Tree, view: View) -> Result<Worker> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("bench-worker").arg("--cgroup").arg(tree.entrance());
        if view == View::OneVersion {
            command.arg("--one-version");
        }
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("start a worker")?;
        let jobs = child.stdin.take();
        let answers = child.stdout.take().context("a worker's stdout")?;
        Ok(Worker { child, jobs, answers: BufReader::new(answers) })
    }

    /// Runs a job; steps that failed are in the answer.
    pub fn ask(&mut self, job: &Job) -> Result<Answer> {
        let jobs = self.jobs.as_mut().context("a worker that takes jobs")?;
        let mut line = serde_json::to_vec(job)?;
        line.push(b'\n');
        jobs.write_all(&line).context("ask a worker")?;
        let mut said = String::new();
        ensure!(self.answers.read_line(&mut said)? > 0, "the worker has ended");
        serde_json::from_str(&said).context("read a worker's answer")
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // The end of its input ends it.
        self.jobs = None;
        let _ = self.child.wait();
    }
}

/// The worker itself: answers each job until its input ends.
pub fn serve(cgroup: &Path, one_version: bool) -> Result<()> {
    std::fs::write(cgroup, "0").with_context(|| format!("enter {}", cgroup.display()))?;
    if one_version {
        leave_version_2()?;
    }
    for line in std::io::stdin().lock().lines() {
        let job: Job = serde_json::from_str(&line?).context("read a job")?;
        let answer = serde_json::to_string(&run(&job)?)?;
        let mut out = std::io::stdout().lock();
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

fn leave_version_2() -> Result<()> {
    nix::sched::unshare(CloneFlags::CLONE_NEWNS).context("unshare the mount namespace")?;
    let none: Option<&str> = None;
    nix::mount::mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .context("make mounts private")?;
    if PathBuf::from(UNIFIED).join("cgroup.controllers").exists() {
        nix::mount::umount2(UNIFIED, MntFlags::MNT_DETACH).with_context(|| format!("unmount {UNIFIED}"))?;
    }
    Ok(())
}

/// A lane that is ready to start: its commands, and the file that takes what they write.
struct Lane<'a> {
    commands: Vec<(Command, &'a Step)>,
    file: std::fs::File,
}

fn run(job: &Job) -> Result<Answer> {
    let mut lanes = job.lanes.iter().map(|steps| prepare(steps)).collect::<Result<Vec<_>>>()?;
    let began = Instant::now();
    let results: Vec<Result<()>> = match lanes.as_mut_slice() {
        [only] => vec![only.run()],
        many => std::thread::scope(|scope| {
            let threads: Vec<_> = many.iter_mut().map(|lane| scope.spawn(|| lane.run())).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|_| bail!("a lane panicked")))
                .collect()
        }),
    };
    let nanos = u64::try_from(began.elapsed().as_nanos())?;
    let said = lanes.iter_mut().map(Lane::said).collect::<Result<Vec<_>>>()?;
    let failures = results
        .into_iter()
        .zip(&said)
        .filter_map(|(result, said)| Some(format!("{:#}: {}", result.err()?, said.trim_end())))
        .collect();
    Ok(Answer { nanos, failures, said })
}

/// A file, since what a container inherits would keep a pipe open for as long as it runs.
fn prepare(steps: &[Step]) -> Result<Lane<'_>> {
    let file = tempfile::tempfile().context("make a file for a lane's output")?;
    let commands = steps
        .iter()
        .map(|step| {
            let (program, args) = step.words.split_first().context("a step without a program")?;
            let mut command = Command::new(program);
            command.args(args).envs(step.env.iter().map(|(key, value)| (key, value))).stdin(Stdio::null());
            command.stdout(file.try_clone()?).stderr(file.try_clone()?);
            Ok((command, step))
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(Lane { commands, file })
}

impl Lane<'_> {
    fn run(&mut self) -> Result<()> {
        for (command, step) in &mut self.commands {
            let status = command.status().with_context(|| format!("run {command:?}"))?;
            ensure!(status.success() || step.may_fail, "{command:?}: {status}");
        }
        Ok(())
    }

    fn said(&mut self) -> Result<String> {
        let mut bytes = Vec::new();
        self.file.seek(SeekFrom::Start(0))?;
        (&self.file).take(KEPT).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_ends_at_its_first_failure_and_says_it() -> Result<()> {
        let job = Job::at_once(vec![
            vec![Step::new("sh", &["-c", "echo no; exit 3"]), Step::new("echo", &["never"])],
            vec![Step::new("false", &[]).may_fail(), Step::new("echo", &["yes"])],
        ]);
        let answer = run(&job)?;
        assert_eq!(answer.said, ["no\n", "yes\n"]);
        assert_eq!(answer.failures.len(), 1, "{:?}", answer.failures);
        assert!(answer.failures[0].contains("exit status: 3: no"), "{:?}", answer.failures);
        Ok(())
    }
}
