//! Who the first process is, and what it may do.

use serde_json::json;

use crate::bundle::Bundle;

fn run(bundle: &Bundle) -> String {
    bundle.run().ok()
}

#[test]
fn user_groups_and_mask() {
    let mut bundle = Bundle::script("id -u; id -g; id -G; umask; echo $HOME");
    bundle.config["process"]["user"] =
        json!({"uid": 1000, "gid": 1001, "additionalGids": [5, 6], "umask": 0o077});
    assert_eq!(run(&bundle), "1000\n1001\n1001 5 6\n0077\n/home/u\n");
    bundle.config["process"]["user"] = json!({"uid": 4242, "gid": 0});
    assert_eq!(run(&bundle).lines().last(), Some("/"));
}

#[test]
fn capabilities_of_root_and_of_others() {
    let mut bundle = Bundle::script("grep -E 'Cap(Prm|Eff|Bnd|Amb|Inh)' /proc/self/status");
    let values = |bundle: &Bundle| -> Vec<u64> {
        let out = run(bundle);
        let value = |line: &str| u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap();
        out.lines().map(value).collect()
    };
    let three = 1 << 5 | 1 << 10 | 1 << 29;
    assert_eq!(values(&bundle), [0, three, three, three, 0]);
    bundle.config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    assert_eq!(values(&bundle), [0, 0, 0, three, 0]);
    let kill = json!(["CAP_KILL"]);
    bundle.config["process"]["capabilities"]["inheritable"] = kill.clone();
    bundle.config["process"]["capabilities"]["ambient"] = kill;
    assert_eq!(values(&bundle), [1 << 5, 1 << 5, 1 << 5, three, 1 << 5]);
}

#[test]
fn an_unknown_capability_is_a_warning() {
    let mut bundle = Bundle::new(&["true"]);
    bundle.config["process"]["capabilities"]["bounding"] = json!(["CAP_FLY"]);
    let said = bundle.run();
    assert_eq!(said.err.matches("CAP_FLY").count(), 1, "{}", said.err);
    assert!(said.err.contains("level=warning"), "{}", said.err);
    assert_eq!(said.code, 0);
}

#[test]
fn limits_and_privileges() {
    let bundle = Bundle::script("ulimit -Sn; ulimit -Hn; grep NoNewPrivs /proc/self/status");
    assert_eq!(run(&bundle), "512\n1024\nNoNewPrivs:\t1\n");
}

#[test]
fn environment_and_directory() {
    let mut bundle = Bundle::script("pwd; echo $A; env | grep -c .");
    bundle.config["process"]["env"] = json!(["PATH=/bin", "A=b c"]);
    bundle.config["process"]["cwd"] = json!("/made/here");
    bundle.config["root"]["readonly"] = json!(false);
    let out = run(&bundle);
    assert!(out.starts_with("/made/here\nb c\n"), "{out}");
}

#[test]
fn a_session_keyring_of_its_own() {
    let mut bundle = Bundle::script("cat /proc/keys");
    bundle.config["linux"]["maskedPaths"] = json!([]);
    let name = format!("_ses.{}:", bundle.id);
    let said = bundle.run().ok();
    assert!(said.contains(&name), "{said}");
    let mut without = Bundle::script("cat /proc/keys");
    without.config["linux"]["maskedPaths"] = json!([]);
    let said = without.verb(&["run", "--no-new-keyring"]).ok();
    assert!(!said.contains(&format!("_ses.{}:", without.id)), "{said}");
}

#[test]
fn only_the_standard_streams_are_open() {
    let bundle = Bundle::script("ls /proc/1/fd; true");
    assert_eq!(run(&bundle), "0\n1\n2\n");
}

#[test]
fn the_null_device_is_the_container_s_own() {
    // Devices of one number are told apart by the file system that they are on.
    let bundle = Bundle::script("stat -L -c %d:%i /proc/self/fd/0 /dev/null");
    let out = run(&bundle);
    let mut lines = out.lines();
    assert_eq!(lines.next(), lines.next(), "{out}");
}

#[test]
fn descriptors_are_handed_on_when_asked() {
    let bundle = Bundle::script("cat <&3; echo $LISTEN_FDS $LISTEN_PID");
    std::fs::write(bundle.dir.path().join("data"), "three").unwrap();
    // A shell opens descriptor 3 the way a service manager would.
    let text = format!(
        "exec {} --root {} run --preserve-fds 1 {} 3< data",
        env!("CARGO_BIN_EXE_runc-rs"),
        bundle.dir.path().join("state").display(),
        bundle.id
    );
    drop(bundle.command(&[]));
    let shell = |text: &str, listen: Option<&str>| {
        let mut command = std::process::Command::new("/bin/sh");
        command.current_dir(bundle.dir.path()).args(["-c", text]).stdin(std::process::Stdio::null());
        listen.map(|n| command.env("LISTEN_FDS", n));
        command.output().unwrap()
    };
    assert_eq!(String::from_utf8(shell(&text, None).stdout).unwrap(), "three\n");
    let listen = text.replace("--preserve-fds 1", "");
    let own = format!("export LISTEN_PID=$$; {listen}");
    assert_eq!(String::from_utf8(shell(&own, Some("1")).stdout).unwrap(), "three1 1\n");
    // What another process was given, this one was not.
    for other in [format!("export LISTEN_PID=1; {listen}"), listen] {
        let said = shell(&other, Some("1"));
        assert_eq!(String::from_utf8(said.stdout).unwrap(), "\n", "{other}");
        assert!(String::from_utf8(said.stderr).unwrap().contains("Bad file descriptor"));
    }
    let missing = text.replace("3< data", "");
    let said = shell(&missing, None);
    assert_eq!(said.status.code(), Some(1));
    assert!(String::from_utf8(said.stderr).unwrap().contains("preserved-fd"));
}

#[test]
fn broken_pipes_end_programs_as_usual() {
    let bundle = Bundle::script("grep SigIgn /proc/self/status; grep SigBlk /proc/self/status");
    let none = "0000000000000000\n";
    assert_eq!(run(&bundle), format!("SigIgn:\t{none}SigBlk:\t{none}"));
}

#[test]
fn seccomp_filters() {
    for no_new_privileges in [true, false] {
        let mut bundle = Bundle::script("grep Seccomp: /proc/self/status; mkdir /tmp; echo $?");
        bundle.config["root"]["readonly"] = json!(false);
        bundle.config["process"]["noNewPrivileges"] = json!(no_new_privileges);
        bundle.config["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}]
        });
        let said = bundle.run();
        assert_eq!(said.out, "Seccomp:\t2\n1\n", "{}", said.err);
        assert!(said.err.contains("Not supported") || said.err.contains("not supported"), "{}", said.err);
    }
}

#[test]
fn a_filter_that_kills_init_fails_the_creation() {
    let mut bundle = Bundle::new(&["true"]);
    bundle.config["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["write"], "action": "SCMP_ACT_KILL_PROCESS"}]
    });
    let said = bundle.create();
    assert_eq!(said.code, 1);
    assert!(said.err.contains("ended before it was set up: signal: SIGSYS"), "{}", said.err);
    assert!(!bundle.state_dir().exists());
}

#[test]
fn the_score_for_the_killer_of_processes() {
    let mut bundle = Bundle::new(&["cat", "/proc/self/oom_score_adj"]);
    bundle.config["process"]["oomScoreAdj"] = json!(500);
    assert_eq!(run(&bundle), "500\n");
}

#[test]
fn scheduling() {
    let mut bundle = Bundle::script("cut -d' ' -f41 /proc/self/stat 2>/dev/null || cat /proc/self/stat");
    bundle.config["process"]["scheduler"] = json!({"policy": "SCHED_BATCH", "nice": 5});
    bundle.config["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_IDLE", "priority": 0});
    let out = run(&bundle);
    let policy = out.split_whitespace().nth(40).or(out.split_whitespace().next());
    assert_eq!(policy, Some("3"), "{out}");
}

#[test]
fn memory_comes_from_the_nodes_asked_for() {
    let mut bundle = Bundle::script("head -n 1 /proc/self/numa_maps");
    bundle.config["linux"]["memoryPolicy"] =
        json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]});
    let out = run(&bundle);
    assert!(out.contains(" bind=static:0 "), "{out}");
    bundle.config["linux"]["memoryPolicy"] = json!({"mode": "MPOL_LOCAL", "nodes": ""});
    assert!(run(&bundle).contains(" local "));
    bundle.config["linux"]["memoryPolicy"] = json!({"mode": "MPOL_BIND", "nodes": "x"});
    assert!(bundle.run().err.contains("invalid list"));
}

#[test]
fn processors_of_an_exec() {
    let mut bundle = Bundle::new(&["sleep", "1000"]);
    bundle.config["process"]["execCPUAffinity"] = json!({"initial": "0", "final": "0"});
    let bundle = bundle.started();
    let out = bundle.exec(&["grep", "Cpus_allowed_list", "/proc/self/status"]).ok();
    assert_eq!(out, "Cpus_allowed_list:\t0\n");
}

#[test]
fn personality_of_32_bits() {
    let mut bundle = Bundle::new(&["uname", "-m"]);
    bundle.config["linux"]["personality"] = json!({"domain": "LINUX32"});
    assert_eq!(run(&bundle), "i686\n");
}

#[test]
fn no_capabilities_in_the_document_are_none() {
    let mut bundle = Bundle::new(&["grep", "Cap", "/proc/self/status"]);
    bundle.config["process"].as_object_mut().unwrap().remove("capabilities");
    let said = bundle.run().ok();
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        assert!(said.contains(&format!("{set}:\t0000000000000000")), "{said}");
    }
}
