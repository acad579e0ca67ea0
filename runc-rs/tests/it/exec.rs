//! Further processes in a container.

use std::fs;

use serde_json::json;

use crate::bundle::Bundle;

fn sleeper() -> Bundle {
    Bundle::new(&["sleep", "1000"]).started()
}

#[test]
fn status_and_streams() {
    let bundle = sleeper();
    let said = bundle.exec(&["sh", "-c", "echo out; echo err >&2; exit 9"]);
    assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (9, "out\n", "err\n"));
    assert_eq!(bundle.exec(&["sh", "-c", "kill -9 $$"]).code, 137);
}

#[test]
fn an_intermediate_process_that_is_killed_hangs_nobody() {
    let bundle = sleeper();
    let faults = tempfile::tempdir().unwrap();
    fs::write(faults.path().join("armed"), "runc-rs.birth.forked kill\n").unwrap();
    let mut command = bundle.command(&["exec"]);
    command.arg(&bundle.id).arg("true").env("RUNTIMED_FAULTS", faults.path());
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(255), "{said}");
    assert!(said.contains("intermediate process ended: signal: SIGKILL"), "{said}");
    assert_eq!(fs::read_to_string(faults.path().join("armed")).unwrap(), "");
    // Nobody is left waiting for a word of the command.
    bundle.wait("its child", || bundle.verb(&["ps", "--format", "json"]).ok().matches(',').count() == 0);
    assert_eq!(bundle.exec(&["true"]).code, 0);
}

#[test]
fn it_is_inside() {
    let bundle = sleeper();
    let out = bundle.exec(&["sh", "-c", "hostname; ls /; cat /proc/1/cmdline; cat /proc/self/cgroup"]).ok();
    assert!(out.starts_with("box\nbin\n"), "{out}");
    assert!(out.contains("sleep\u{0}1000"), "{out}");
    for line in out.lines().filter(|l| l.split(':').count() == 3) {
        assert!(line.ends_with(":/"), "{line}");
    }
}

#[test]
fn flags_change_the_process() {
    let bundle = sleeper();
    let flags = [
        "exec",
        "--user",
        "1000:1001",
        "-g",
        "7",
        "-g",
        "8",
        "-e",
        "A=1",
        "--env",
        "B=x,y",
        "--cwd",
        "/bin",
        "-c",
        "CAP_NET_ADMIN",
    ];
    let script = "id -u; id -g; id -G; echo $A $B $HOME; pwd; grep -E 'Cap(Inh|Bnd)' /proc/self/status";
    let out = bundle.verb_with(&flags, &["sh", "-c", script]).ok();
    let bounding = 1_u64 << 5 | 1 << 10 | 1 << 12 | 1 << 29;
    assert_eq!(
        out,
        format!("1000\n1001\n1001 7 8\n1 x,y /home/u\n/bin\nCapInh:\t{:016x}\nCapBnd:\t{bounding:016x}\n", 0)
    );
}

#[test]
fn a_variable_of_the_command_line_replaces_the_container_s() {
    let mut bundle = Bundle::new(&["sleep", "1000"]);
    bundle.config["process"]["env"] = json!(["PATH=/bin", "A=first", "A=old", "B=b"]);
    let bundle = bundle.started();
    // As it stands in the memory of the program: a shell would hide that there are two.
    let of = |said: String| said.split('\0').map(str::to_owned).collect::<Vec<_>>();
    let init = of(bundle.exec(&["cat", "/proc/1/environ"]).ok());
    assert_eq!(init, ["PATH=/bin", "A=old", "B=b", "HOME=/root", ""]);
    let own =
        of(bundle.verb_with(&["exec", "-e", "A=new", "-e", "A=newest"], &["cat", "/proc/self/environ"]).ok());
    assert_eq!(own, ["PATH=/bin", "B=b", "A=newest", "HOME=/root", ""]);
}

#[test]
fn a_process_file() {
    let bundle = sleeper();
    let path = bundle.dir.path().join("process.json");
    let process = json!({"user": {"uid": 5, "gid": 6}, "args": ["sh", "-c", "id -u; echo $X"], "cwd": "/",
                         "env": ["PATH=/bin", "X=y"]});
    fs::write(&path, process.to_string()).unwrap();
    assert_eq!(bundle.verb(&["exec", "--process", path.to_str().unwrap()]).ok(), "5\ny\n");
}

#[test]
fn detached_with_a_pid_file() {
    let bundle = sleeper();
    let path = bundle.dir.path().join("pid");
    let nowhere = std::process::Stdio::null;
    let mut command = bundle.command(&["exec", "-d", "--pid-file", path.to_str().unwrap()]);
    let status =
        command.arg(&bundle.id).args(["sleep", "500"]).stdout(nowhere()).stderr(nowhere()).status().unwrap();
    assert!(status.success());
    let pid = fs::read_to_string(path).unwrap();
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap();
    assert_eq!(line, b"sleep\x00500\x00");
}

#[test]
fn failures_end_with_255() {
    let bundle = sleeper();
    for (args, text) in [
        (
            vec!["nosuch"],
            "exec failed: unable to start container process: exec: \"nosuch\": executable file not found in $PATH",
        ),
        (vec!["/nosuch"], "exec: \"/nosuch\": stat /nosuch: no such file or directory"),
        (vec!["/etc"], "exec: \"/etc\": is a directory"),
        (vec!["/etc/passwd"], "exec: \"/etc/passwd\": permission denied"),
    ] {
        let mut flags = vec!["--log", "log", "--log-format", "json", "exec"];
        let said = bundle.verb_with(&flags, &args);
        assert_eq!(said.code, 255);
        assert!(said.err.contains(text), "{}", said.err);
        let log = fs::read_to_string(bundle.dir.path().join("log")).unwrap();
        let last: serde_json::Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
        assert_eq!(last["level"], "error");
        assert!(last["msg"].as_str().unwrap().contains(text));
        flags.clear();
    }
    let said = bundle.verb_with(&["exec", "--pid-file", "/no/such/pid"], &["true"]);
    assert_eq!(said.code, 255, "{}", said.err);
    // The words that callers know, and no others: not those of a second failure in the process that gave up.
    let said = bundle.verb_with(&["exec", "--cwd", "/nosuch"], &["true"]);
    let text = "exec failed: unable to start container process: chdir to cwd (\\\"/nosuch\\\") set in config.json failed: no such file or directory";
    assert!(said.code == 255 && said.err.contains(text) && said.err.lines().count() == 1, "{}", said.err);
    let said = bundle.verb_with(&["exec", "--frob"], &["true"]);
    assert!(said.code == 1 && said.err.contains("flag provided but not defined: -frob"), "{}", said.err);
    // A name is one as config.json spells it.
    let flags =
        ["exec", "--cap", "CAP_FLY", "--cap", "NET_RAW", "--cap", "cap_net_raw", "--cap", "CAP_CHOWN"];
    let said = bundle.verb_with(&flags, &["grep", "CapBnd", "/proc/self/status"]);
    let ignored = "ignoring unknown or unavailable capabilities: [CAP_FLY NET_RAW cap_net_raw]";
    assert!(said.err.contains(ignored), "{}", said.err);
    assert_eq!(said.ok(), "CapBnd:\t0000000020000421\n");
    for out in ["../..", "sub/../..", "pids:../other"] {
        let said = bundle.verb_with(&["exec", "--cgroup", out], &["true"]);
        assert!(said.code == 255 && said.err.contains(" is not a sub cgroup path"), "{out}: {}", said.err);
    }
    let said = bundle.verb_with(&["exec", "--tty", "--detach"], &["true"]);
    assert!(said.err.contains("cannot allocate tty if runc will detach without setting console socket"));
}

#[test]
fn not_in_what_has_stopped() {
    let bundle = sleeper();
    bundle.verb_with(&["kill"], &["KILL"]).ok();
    bundle.wait("the end", || bundle.status() == "stopped");
    let said = bundle.exec(&["true"]);
    assert_eq!(said.code, 255);
    assert!(said.err.contains("cannot exec in a stopped container"), "{}", said.err);
}

#[test]
fn in_what_waits_for_start() {
    let bundle = Bundle::new(&["true"]);
    bundle.create().ok();
    assert_eq!(bundle.exec(&["hostname"]).ok(), "box\n");
}

#[test]
fn not_in_what_is_paused_unless_asked() {
    let bundle = sleeper();
    bundle.verb(&["pause"]).ok();
    let said = bundle.exec(&["true"]);
    assert!(said.err.contains("paused container"), "{}", said.err);
    bundle.verb(&["resume"]).ok();
    bundle.exec(&["true"]).ok();
}

#[test]
fn a_descriptor_is_no_working_directory() {
    let bundle = sleeper();
    for number in 3..16 {
        let said = bundle
            .verb_with(&["exec", "--cwd", &format!("/proc/self/fd/{number}")], &["sh", "-c", "ls -d /bin"]);
        // A descriptor of the container's own root leads nowhere new; every other is refused.
        assert!(said.code == 255 || said.out == "/bin\n", "{number}: {} {}", said.out, said.err);
        let up = bundle.verb_with(
            &["exec", "--cwd", &format!("/proc/self/fd/{number}")],
            &["cat", "../../../../../../../../etc/shadow"],
        );
        assert_ne!(up.code, 0);
    }
}

#[test]
fn a_process_file_without_capabilities_has_the_containers() {
    let bundle = Bundle::new(&["sleep", "1000"]).started();
    let own = bundle.exec(&["grep", "CapEff", "/proc/1/status"]).ok();
    let file = bundle.dir.path().join("process.json");
    let process = json!({"args": ["/bin/grep", "CapEff", "/proc/self/status"], "cwd": "/", "user": {"uid": 0, "gid": 0}});
    fs::write(&file, process.to_string()).unwrap();
    let said = bundle.verb(&["exec", "--process", file.to_str().unwrap(), &bundle.id]).ok();
    assert_eq!(said, own);
}

#[test]
fn a_real_time_signal_is_a_status_too() {
    let bundle = Bundle::new(&["sleep", "1000"]).started();
    assert_eq!(bundle.exec(&["sh", "-c", "kill -34 $$"]).code, 128 + 34);
}
