//! Filters are run by a small interpreter, and one by the kernel.

use std::collections::BTreeMap;

use super::*;

const X86_64: u32 = 0xc000_003e;
const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0026;

fn compiled(json: &str) -> Result<Program, Error> {
    compile(&serde_json::from_str(json).unwrap())
}

/// What a filter answers to a call.
fn run(program: &Program, arch: u32, number: u32, args: &[u64]) -> u32 {
    let mut data = BTreeMap::from([(0, number), (4, arch)]);
    for i in 0..MAX_ARGS {
        let value = args.get(i).copied().unwrap_or_default();
        data.insert(16 + 8 * i as u32, value as u32);
        data.insert(20 + 8 * i as u32, (value >> 32) as u32);
    }
    let program = instructions(&program.filter).unwrap();
    let (mut acc, mut at) = (0, 0);
    loop {
        let Insn { code, jt, jf, k } = program[at];
        let jump = |taken: bool| usize::from(if taken { jt } else { jf });
        at += 1;
        match code {
            0x20 => acc = data[&k],
            0x54 => acc &= k,
            0x05 => at += k as usize,
            0x15 => at += jump(acc == k),
            0x25 => at += jump(acc > k),
            0x35 => at += jump(acc >= k),
            0x45 => at += jump(acc & k != 0),
            0x06 => return k,
            other => panic!("operation {other:#x}"),
        }
    }
}

fn number(name: &str) -> u32 {
    i32::from(ScmpSyscall::from_name_by_arch(name, ScmpArch::X8664).unwrap()) as u32
}

#[test]
fn a_list_of_what_is_allowed() {
    let program = compiled(
        r#"{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X86","SCMP_ARCH_X32"],
            "syscalls":[{"names":["read","openat2","no_such_call"],"action":"SCMP_ACT_ALLOW"},
              {"names":["personality"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":8,"op":"SCMP_CMP_EQ"}]},
              {"names":["clone"],"action":"SCMP_ACT_ALLOW",
               "args":[{"index":0,"value":2114060288,"valueTwo":0,"op":"SCMP_CMP_MASKED_EQ"}]},
              {"names":["mkdir"],"action":"SCMP_ACT_ERRNO","errnoRet":13},
              {"names":["reboot"],"action":"SCMP_ACT_KILL_PROCESS"}]}"#,
    )
    .unwrap();
    let call = |name: &str, args: &[u64]| run(&program, X86_64, number(name), args);
    assert_eq!(call("read", &[]), ALLOW);
    assert_eq!(call("write", &[]), EPERM);
    assert_eq!((call("personality", &[8]), call("personality", &[9])), (ALLOW, EPERM));
    assert_eq!((call("clone", &[17]), call("clone", &[0x1000_0000])), (ALLOW, EPERM));
    assert_eq!(call("mkdir", &[]), 0x0005_000d);
    assert_eq!(call("reboot", &[]), 0x8000_0000);
    // openat2 is the highest that is named: everything above is newer than the profile.
    assert_eq!(call("openat2", &[]), ALLOW);
    assert_eq!(run(&program, X86_64, number("openat2") + 1, &[]), ENOSYS);
    // The other two architectures of the machine.
    assert_eq!((run(&program, 0x4000_0003, 3, &[]), run(&program, 0x4000_0003, 4000, &[])), (ALLOW, ENOSYS));
    assert_eq!(run(&program, X86_64, 0x4000_0001, &[]), EPERM);
    assert_eq!(run(&program, X86_64, 0x4000_0fff, &[]), ENOSYS);
}

#[test]
fn a_list_of_what_is_denied_has_no_stub() {
    let program = compiled(
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir"],"action":"SCMP_ACT_ERRNO"}]}"#,
    )
    .unwrap();
    assert_eq!(run(&program, X86_64, number("mkdir"), &[]), EPERM);
    assert_eq!(run(&program, X86_64, 100_000, &[]), ALLOW);
}

#[test]
fn two_conditions_on_one_argument_are_two_rules() {
    let program = compiled(
        r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["socket"],"action":"SCMP_ACT_ALLOW","args":[
             {"index":0,"value":1,"op":"SCMP_CMP_EQ"},{"index":0,"value":2,"op":"SCMP_CMP_EQ"}]}]}"#,
    )
    .unwrap();
    let socket = |family| run(&program, X86_64, number("socket"), &[family]);
    assert_eq!((socket(1), socket(2), socket(3)), (ALLOW, ALLOW, EPERM));
}

#[test]
fn flags_reach_the_kernel() {
    let with = |flags: &str| compiled(&format!(r#"{{"defaultAction":"SCMP_ACT_ALLOW","flags":{flags}}}"#));
    assert_eq!(with(r#"["SECCOMP_FILTER_FLAG_LOG","SECCOMP_FILTER_FLAG_TSYNC"]"#).unwrap().flags, FLAG_LOG);
    assert_eq!(with(r#"["SECCOMP_FILTER_FLAG_SPEC_ALLOW"]"#).unwrap().flags, FLAG_SPEC_ALLOW);
}

#[test]
fn what_cannot_be_done_is_named() {
    for (json, want) in [
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_NOTIFY"}]}"#,
            "linux.seccomp.listenerPath is not set",
        ),
        (r#"{"defaultAction":"SCMP_ACT_NOTIFY"}"#, "cannot be used as default action"),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_ERRNO",
                "args":[{"index":6,"value":0,"op":"SCMP_CMP_EQ"}]}]}"#,
            "argument index 6",
        ),
        (r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":70000}"#, "errnoRet 70000"),
    ] {
        let got = compiled(json).unwrap_err().to_string();
        assert!(got.contains(want), "{got}");
    }
}

#[test]
fn the_default_profile_compiles() {
    let caps: Vec<String> = oci::capability::DEFAULT.iter().map(|c| (*c).to_owned()).collect();
    let target = oci::seccomp::Target { capabilities: &caps, arch: "x86_64", kernel: (6, 1) };
    let program = compile(&oci::seccomp::default_profile(&target)).unwrap();
    let call = |name: &str, args: &[u64]| run(&program, X86_64, number(name), args);
    assert_eq!(call("openat", &[]), ALLOW);
    assert_eq!(call("mount", &[]), EPERM);
    assert_eq!(call("clone3", &[]), ENOSYS);
    assert_eq!((call("socket", &[2]), call("socket", &[38])), (ALLOW, EPERM));
    assert_eq!(call("chroot", &[]), ALLOW);
}

#[test]
fn the_kernel_takes_it() {
    let program = compiled(
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["getcwd"],"action":"SCMP_ACT_ERRNO","errnoRet":95}]}"#,
    )
    .unwrap();
    // Without TSYNC a filter is on one thread alone, and ends with it.
    let outcome = std::thread::spawn(move || {
        nix::sys::prctl::set_no_new_privs().unwrap();
        program.load().map(|_| nix::unistd::getcwd())
    });
    assert_eq!(outcome.join().unwrap().unwrap(), Err(Errno::EOPNOTSUPP));
}
