//! The command line beside runc's: every flag is known, and what cannot be read is answered in the same way.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::bundle::{Bundle, Said};

/// Commands and flags of runc 1.5, those that its help does not show included.
const RUNC: &[(&str, &str)] = &[
    (
        "checkpoint",
        "image-path work-path parent-path leave-running tcp-established tcp-skip-in-flight link-remap ext-unix-sk shell-job \
         lazy-pages status-fd page-server file-locks pre-dump manage-cgroups-mode empty-ns auto-dedup",
    ),
    ("create", "bundle b console-socket pidfd-socket pid-file no-pivot no-new-keyring preserve-fds"),
    ("delete", "force f"),
    ("events", "interval stats"),
    (
        "exec",
        "console-socket pidfd-socket cwd env e tty t user u additional-gids g process p detach d pid-file process-label \
         apparmor no-new-privs cap c preserve-fds cgroup ignore-paused",
    ),
    ("features", ""),
    ("kill", "all a"),
    ("list", "format f quiet q"),
    ("pause", ""),
    ("ps", "format f"),
    (
        "restore",
        "console-socket image-path work-path tcp-established ext-unix-sk shell-job file-locks manage-cgroups-mode bundle b \
         detach d pid-file no-subreaper no-pivot empty-ns auto-dedup lazy-pages lsm-profile lsm-mount-context",
    ),
    ("resume", ""),
    (
        "run",
        "bundle b console-socket pidfd-socket pid-file no-pivot no-new-keyring preserve-fds detach d keep no-subreaper",
    ),
    ("spec", "bundle b rootless"),
    ("start", ""),
    ("state", ""),
    (
        "update",
        "resources r blkio-weight cpu-period cpu-quota cpu-burst cpu-share cpu-rt-period cpu-rt-runtime cpu-idle cpuset-cpus \
         cpuset-mems memory memory-reservation memory-swap pids-limit l3-cache-schema mem-bw-schema kernel-memory \
         kernel-memory-tcp",
    ),
];

fn call(program: &Path, folder: &Path, args: &[&str]) -> Said {
    let mut command = Command::new(program);
    command.arg("--root").arg(folder.join("state")).args(args).current_dir(folder).stdin(Stdio::null());
    Said::of(&command.output().unwrap())
}

fn ours() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_runc-rs"))
}

/// Debian's runc, where it is installed.
fn theirs() -> Option<&'static Path> {
    Some(Path::new("/usr/sbin/runc")).filter(|path| path.exists())
}

/// The names in a line of options: `   --bundle value, -b value  path to …`.
fn names(line: &str) -> Vec<String> {
    let options = line.trim_start().split("  ").next().unwrap_or_default();
    let words = options.split([' ', ',']).filter(|word| word.starts_with('-'));
    words.map(|word| word.trim_start_matches('-').to_owned()).collect()
}

/// What the help of runc shows: its commands (none: of the program), or the flags of one.
fn shown(runc: &Path, folder: &Path, section: &str, args: &[&str]) -> Vec<String> {
    let help = call(runc, folder, args).ok();
    let lines = help.lines().skip_while(|line| *line != section).skip(1);
    lines.take_while(|line| line.starts_with("   ") && !line.trim().is_empty()).map(str::to_owned).collect()
}

#[test]
fn every_command_and_every_flag_of_runc_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let known = |command: &str, flag: &str| {
        let given = format!("-{flag}=true");
        let said = call(ours(), folder.path(), &[command, &given, "one", "two", "three", "four"]);
        assert!(!said.err.contains("not defined") && !said.err.contains("No help topic"), "{said:?}");
    };
    for (command, flags) in RUNC {
        flags.split_whitespace().for_each(|flag| known(command, flag));
        call(ours(), folder.path(), &[command, "--help"]).ok();
    }
    let Some(runc) = theirs() else { return };
    let commands = shown(runc, folder.path(), "COMMANDS:", &["--help"]);
    let commands: BTreeSet<&str> =
        commands.iter().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(commands.contains("checkpoint") && commands.len() > 15, "{commands:?}");
    for command in commands.iter().map(|name| name.trim_end_matches(',')).filter(|name| *name != "help") {
        let flags = shown(runc, folder.path(), "OPTIONS:", &[command, "--help"]);
        flags.iter().flat_map(|line| names(line)).for_each(|flag| known(command, &flag));
    }
    for flag in shown(runc, folder.path(), "GLOBAL OPTIONS:", &["--help"]).iter().flat_map(|line| names(line))
    {
        let said = call(ours(), folder.path(), &[&format!("--{flag}=true"), "bogus"]);
        assert!(!said.err.contains("not defined"), "{said:?}");
    }
}

#[test]
fn what_cannot_be_read_is_answered_as_runc_does() {
    let folder = tempfile::tempdir().unwrap();
    let Some(runc) = theirs() else { return };
    // The exit code, the first line, and the error without the time and the program's own name.
    let answer = |program: &Path, args: &[&str]| {
        let said = call(program, folder.path(), args);
        let error = said.err.split_once("level=").map_or("", |(_, error)| error).trim();
        let error = error.replace(program.to_str().unwrap(), "PROGRAM").replace("\\n\"", "\"");
        (said.code, said.out.lines().next().unwrap_or_default().replace("runc-rs", "runc"), error)
    };
    let of_all = ["", "--bogus", "--bogus=1 x", "one two three four five"];
    let all = RUNC.iter().flat_map(|(command, _)| of_all.iter().map(move |rest| format!("{command} {rest}")));
    let some = [
        "exec nosuch",
        "exec --cwd",
        "exec -u",
        "exec --preserve-fds x nosuch true",
        "create -b",
        "create --preserve-fds=x a",
        "create --bundle /no/such a",
        "run --bundle /no/such a",
        "checkpoint --status-fd x nosuch",
        "delete --force=maybe nosuch",
        "delete nosuch --force",
        "delete --force nosuch",
        "events --interval often nosuch",
        "events --interval 0 nosuch",
        "kill nosuch NOSUCH",
        "list -f xml",
        "list -q",
        "ps -f xml nosuch",
        "update --memory much nosuch",
        "update --pids-limit x nosuch",
        "update -r /no/such nosuch",
        "bogus",
        "help",
        "h",
        "help bogus",
        "help create",
        "--bogus list",
        "--debug=maybe list",
        "--log-format xml list",
    ];
    for line in all.chain(some.map(str::to_owned)) {
        // It writes a file, or does what it is for.
        if ["spec ", "list ", "features "].contains(&line.as_str()) {
            continue;
        }
        let args: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(answer(ours(), &args), answer(runc, &args), "{line}");
    }
}

#[test]
fn another_file_than_config_json() {
    let bundle = Bundle::new(&["echo", "other"]);
    let mut command = bundle.command(&["run", "--config", "elsewhere/container.json", "--bundle", "."]);
    fs::create_dir(bundle.dir.path().join("elsewhere")).unwrap();
    fs::rename(bundle.dir.path().join("config.json"), bundle.dir.path().join("elsewhere/container.json"))
        .unwrap();
    let said = Said::of(&command.arg(&bundle.id).output().unwrap());
    assert_eq!(said.ok(), "other\n");
    let mut command = Command::new(ours());
    command.arg("--root").arg(bundle.dir.path().join("state")).current_dir(bundle.dir.path());
    let said = Said::of(&command.args(["run", "--config", "none.json", &bundle.id]).output().unwrap());
    let missing =
        format!("JSON specification file {} not found", bundle.dir.path().join("none.json").display());
    assert!(said.code == 1 && said.err.contains(&missing), "{}", said.err);
}

#[test]
fn a_config_json_of_any_release() {
    for version in [json!("0.6.0"), json!("3.0.0"), json!(null)] {
        let mut bundle = Bundle::new(&["true"]);
        bundle.config["ociVersion"] = version;
        bundle.create().ok();
        assert_eq!(bundle.state()["ociVersion"], "1.3.0");
    }
}
