//! Who is told of a signal: init alone, but of SIGKILL everybody where the others would not end with init.

use std::fs;

use crate::bundle::Bundle;

/// Init goes on after SIGTERM, and says so; its child would end by it.
const TWO: &str = "trap 'echo told' TERM; sleep 1000 & echo child; while :; do wait; done";

/// A container of two processes that share the host's process ids.
fn shared() -> Bundle {
    let mut bundle = Bundle::script(TWO);
    bundle.without_namespace("pid");
    two(bundle)
}

fn two(bundle: Bundle) -> Bundle {
    let bundle = bundle.started();
    bundle.wait("the child", || bundle.output().contains("child") && members(&bundle).len() == 2);
    bundle
}

/// The processes of the container that have not ended.
fn members(bundle: &Bundle) -> Vec<String> {
    let procs: Vec<String> =
        bundle.cgroups().iter().filter_map(|dir| fs::read_to_string(dir.join("cgroup.procs")).ok()).collect();
    let longest = procs.iter().max_by_key(|text| text.len()).cloned().unwrap_or_default();
    longest.lines().filter(|pid| lives(pid)).map(str::to_owned).collect()
}

fn lives(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

fn told(bundle: &Bundle) -> usize {
    bundle.output().matches("told").count()
}

#[test]
fn all_are_no_more_than_init_for_other_signals() {
    for bundle in [two(Bundle::script(TWO)), shared()] {
        for (times, flags) in [(1, vec!["kill"]), (2, vec!["kill", "--all"]), (3, vec!["kill", "-a"])] {
            bundle.verb_with(&flags, &["TERM"]).ok();
            bundle.wait("its word", || told(&bundle) == times);
            assert_eq!(members(&bundle).len(), 2, "{flags:?}");
        }
        bundle.verb_with(&["kill", "--all"], &["KILL"]).ok();
        bundle.wait("the end of both", || members(&bundle).is_empty());
    }
}

#[test]
fn everybody_is_killed_where_process_ids_are_shared() {
    let bundle = shared();
    bundle.verb_with(&["kill"], &["KILL"]).ok();
    bundle.wait("the end of both", || members(&bundle).is_empty());
    assert_eq!(bundle.status(), "stopped");
}

/// A namespace that was joined does not end with this container's init.
#[test]
fn everybody_is_killed_where_the_pid_namespace_was_joined() {
    let owner = Bundle::new(&["sleep", "1000"]).started();
    let mut bundle = Bundle::script(TWO);
    bundle.namespace("pid", Some(&format!("/proc/{}/ns/pid", owner.pid())));
    let bundle = two(bundle);
    bundle.verb_with(&["kill"], &["9"]).ok();
    bundle.wait("the end of both", || members(&bundle).is_empty());
    assert_eq!(owner.status(), "running");
}

/// Those that init leaves behind are still told, and `--all` forgives that there is nobody.
#[test]
fn of_a_container_that_has_stopped() {
    let bundle = shared();
    let pid = bundle.pid();
    sys::signal::kill(pid, 9).unwrap();
    bundle.wait("the end of init", || bundle.status() == "stopped");
    let refused = bundle.verb_with(&["kill"], &["TERM"]);
    assert!(refused.code == 1 && refused.err.contains("container not running"), "{refused:?}");
    bundle.verb_with(&["kill", "--all"], &["TERM"]).ok();
    assert_eq!(members(&bundle).len(), 1);
    bundle.verb_with(&["kill"], &["KILL"]).ok();
    bundle.wait("the end of the other", || members(&bundle).is_empty());
    // Nobody is left, and the cgroup is: that is no error.
    bundle.verb_with(&["kill"], &["KILL"]).ok();
    for dir in bundle.cgroups() {
        bundle.wait("an empty cgroup", || fs::remove_dir(&dir).is_ok() || !dir.exists());
    }
    let refused = bundle.verb_with(&["kill"], &["KILL"]);
    assert_eq!(refused.code, 1);
    assert!(refused.err.contains("unable to kill all processes: container not running"), "{}", refused.err);
    bundle.verb_with(&["kill", "--all"], &["KILL"]).ok();
}

#[test]
fn of_a_stopped_container_with_process_ids_of_its_own() {
    let bundle = Bundle::new(&["sleep", "1000"]).started();
    bundle.verb_with(&["kill"], &["KILL"]).ok();
    bundle.wait("the end", || bundle.status() == "stopped");
    for signal in ["TERM", "KILL"] {
        let refused = bundle.verb_with(&["kill"], &[signal]);
        assert!(refused.code == 1 && refused.err.contains("msg=\"container not running\""), "{refused:?}");
        bundle.verb_with(&["kill", "--all"], &[signal]).ok();
    }
    let unknown = bundle.verb_with(&["kill", "--all"], &["NOSUCH"]);
    assert!(unknown.code == 1 && unknown.err.contains("unknown signal"), "{}", unknown.err);
}

#[test]
fn a_paused_container_takes_its_death() {
    for own in [true, false] {
        let mut bundle = Bundle::script(TWO);
        if !own {
            bundle.without_namespace("pid");
        }
        let bundle = two(bundle);
        bundle.verb(&["pause"]).ok();
        bundle.verb_with(&["kill"], &["KILL"]).ok();
        bundle.wait("the end of both", || members(&bundle).is_empty());
        assert_eq!(bundle.status(), "stopped");
    }
}
