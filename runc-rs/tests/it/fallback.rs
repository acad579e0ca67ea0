//! The same tests again on a kernel that lacks what is newest: each way of doing without is taken at least once.

use std::process::{Command, Stdio};

use sys::deny;

/// Runs tests of this file again with system calls answered ENOSYS, for them and all that they start.
fn again(without: &[&[i64]], tests: &[&str], skipped: &[&str]) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(tests).stdin(Stdio::null());
    for name in skipped {
        command.args(["--skip", name]);
    }
    // A recursion would have no end.
    command.args(["--skip", "fallback::"]);
    if without.contains(&deny::MOUNT_API) {
        command.env("WITHOUT_MOUNT_API", "1");
    }
    deny::deny(&mut command, &without.concat()).unwrap();
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let ran = said.lines().filter(|line| line.starts_with("test ") && line.ends_with(" ok")).count();
    assert!(ran >= tests.len(), "{said}");
}

/// What takes calls that have no older form: attributes of a whole tree, id-mapped mounts, and sources that only the
/// runtime can reach.
const NEWER: &[&str] = &["recursive_attributes", "id_mapped_mounts", "sources_out_of_the_user_s_reach"];

#[test]
fn mounts_and_paths_without_descriptor_calls() {
    again(
        &[deny::OPENAT2, deny::MOUNT_API],
        &[
            "filesystem::",
            "namespaces::",
            "terminal::",
            "exchanged",
            "nothing_is_mounted_over_proc",
            "process::",
            "hooks::",
        ],
        NEWER,
    );
}

#[test]
fn paths_without_openat2_alone() {
    again(&[deny::OPENAT2], &["filesystem::", "exchanged", "nothing_is_mounted_over_proc"], &[]);
}

#[test]
fn mounts_without_the_new_calls_alone() {
    again(&[deny::MOUNT_API], &["filesystem::", "exchanged", "nothing_is_mounted_over_proc"], NEWER);
}

#[test]
fn births_and_deaths_without_descriptors_of_processes() {
    again(
        &[deny::CLONE3, deny::PIDFD, deny::CLOSE_RANGE],
        &["lifecycle::", "exec::", "process::", "hooks::", "terminal::", "unified::", "namespaces::"],
        &["a_pidfd_is_sent"],
    );
}

#[test]
fn what_has_no_older_form_is_named() {
    again(&[deny::MOUNT_API], &["older::"], &[]);
}
