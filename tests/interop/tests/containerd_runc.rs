//! Debian's containerd and its shim, with `runc-rs` in the place of runc: what one says, the other says.

use anyhow::{Context, Result, ensure};
use harness::peers::Containerd;
use harness::{Outcome, image, needs, programs};
use interop::text;

const NAME: &str = "docker.io/library/busybox:latest";
const TOOLS: &[&str] =
    &["ctr", "containerd", "containerd-shim-runc-v2", "runc", "umoci", "skopeo", "busybox"];

/// `ctr run` options, and a shell script whose output tells what came of them.
const RUNS: &[(&[&str], &str)] = &[
    (&[], "echo out; echo err >&2; exit 3"),
    (&[], "id; pwd; env | sort; cat /proc/self/cgroup | wc -l"),
    (&[], "grep -e Cap -e Seccomp -e NoNewPrivs /proc/self/status"),
    (&[], "ls -la /dev | awk '{print $1, $NF}'; ls -la /dev/fd/ | wc -l"),
    (&[], "cut -d' ' -f2- /proc/mounts | grep -v -e '^/ ' -e '^/sys/fs/cgroup' | cut -d, -f1"),
    (&[], "cat /proc/sys/kernel/hostname; ulimit -n; umask; cat /proc/self/oom_score_adj"),
    (&["--cwd", "/tmp"], "pwd"),
    (&["--env", "A=b c", "--env", "B="], "echo \"$A|$B\""),
    (&["--user", "12:34"], "id -u; id -g; touch /x"),
    (&["--read-only"], "touch /x"),
    (&["--seccomp"], "grep Seccomp: /proc/self/status"),
    (&["--cap-drop", "CAP_CHOWN", "--cap-add", "CAP_NET_RAW"], "grep Cap /proc/self/status"),
    (&["--uidmap", "0:1000000:65536", "--gidmap", "0:1000000:65536"], "cat /proc/self/uid_map; id -u"),
    (
        &["--mount", "type=tmpfs,dst=/t,options=size=64k:noexec"],
        "grep ' /t ' /proc/mounts | cut -d' ' -f2-3; grep -o noexec /proc/mounts | head -n1",
    ),
    (
        &["--mount", "type=bind,src=/usr,dst=/made/here,options=rbind:ro"],
        "test -d /made/here/bin && echo there; touch /made/here/x",
    ),
    (&["--device", "/dev/null"], "test -c /dev/null && echo yes"),
    (&["--memory-limit", "33554432"], "head -c 99999999 /dev/zero | tail >/dev/null; echo $?"),
    (&["--no-pivot"], "ls / | wc -l"),
    (&["--cpu-shares", "512", "--cpus", "0.5"], "echo ran"),
];

/// Programs that cannot be run, and what is wrong with them.
const FAILURES: &[&[&str]] = &[&["nothing-there"], &["/etc/passwd"], &["/nothing/there"]];

#[test]
fn what_runc_says_runc_rs_says() -> Result<()> {
    if !needs("what_runc_says_runc_rs_says", TOOLS) {
        return Ok(());
    }
    let scratch = tempfile::Builder::new().prefix("runtimed-").tempdir()?;
    let archive = image::busybox_archive(scratch.path())?;
    let peer = Containerd::start(scratch.path(), &programs::folder()?)?;
    Outcome::of(&mut peer.ctr(&["images", "import", text(&archive)?]), b"")?.ok()?;
    let ours = programs::folder()?.join("runc-rs");
    let said = |executor: &str, options: &[&str], command: &[&str]| {
        let start = ["run", "--rm", "--runc-binary", executor];
        let outcome = Outcome::of(&mut peer.ctr(&[&start, options, &[NAME, "one"], command].concat()), b"")?;
        anyhow::Ok((outcome.code, outcome.stdout, outcome.stderr))
    };
    for (options, script) in RUNS {
        let command = ["sh", "-c", script];
        let both = || {
            anyhow::Ok((said("/usr/sbin/runc", options, &command)?, said(text(&ours)?, options, &command)?))
        };
        let (mut theirs, mut ours) = both()?;
        // The shim of that age now and then loses what a process says that ends at once, whatever its executor.
        for _ in 0..2 {
            if theirs.1.is_empty() != ours.1.is_empty() {
                (theirs, ours) = both()?;
            }
        }
        ensure!(theirs == ours, "{options:?} {script:?}: runc: {theirs:?}\nrunc-rs: {ours:?}");
    }
    for command in FAILURES {
        let (theirs, ours) = (said("/usr/sbin/runc", &[], command)?, said(text(&ours)?, &[], command)?);
        ensure!(theirs.0 == 1 && theirs.0 == ours.0, "{command:?}: runc: {theirs:?}\nrunc-rs: {ours:?}");
        ensure!(cause(&theirs.2)? == cause(&ours.2)?, "{command:?}: runc: {theirs:?}\nrunc-rs: {ours:?}");
    }
    peer.finish()
}

/// What an error says last, which is what callers match.
fn cause(message: &str) -> Result<String> {
    let start = message.find("exec: ").with_context(|| format!("no cause in {message:?}"))?;
    Ok(message[start..].trim_end().to_owned())
}
