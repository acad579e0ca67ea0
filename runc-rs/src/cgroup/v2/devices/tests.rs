//! The programs are run by a small interpreter, and one is handed to the kernel's verifier.

use std::collections::BTreeMap;

use super::*;
use crate::cgroup::device_rules::{MKNOD, READ, WRITE};

fn policy(json: &str) -> Policy {
    let rules: Vec<LinuxDeviceCgroup> = serde_json::from_str(json).unwrap();
    let rules =
        rules.iter().enumerate().map(|(i, r)| crate::cgroup::device_rules::Rule::from_spec(i, r).unwrap());
    Policy::from_rules(rules).unwrap()
}

/// What the program answers for an access.
fn run(program: &[Insn], kind: Kind, access: u8, major: u32, minor: u32) -> bool {
    let kind = if kind == Kind::Block { 1 } else { 2 };
    let words = BTreeMap::from([(0, u32::from(access) << 16 | kind), (4, major), (8, minor)]);
    let mut regs = [0_u64; 16];
    let mut at = 0;
    loop {
        let Insn { code, regs: names, off, imm } = program[at];
        let (dst, src) = (usize::from(names & 15), usize::from(names >> 4));
        at += 1;
        let mut jump = |taken: bool| at = if taken { at + off as usize } else { at };
        match code {
            LOAD_WORD => regs[dst] = words[&off].into(),
            AND_IMM32 => regs[dst] = u64::from(regs[dst] as u32 & imm as u32),
            SHIFT_RIGHT_IMM32 => regs[dst] = u64::from(regs[dst] as u32 >> imm),
            MOVE_IMM32 => regs[dst] = (imm as u32).into(),
            MOVE_REG32 => regs[dst] = u64::from(regs[src] as u32),
            JUMP_NE_IMM => jump(regs[dst] != imm as i64 as u64),
            JUMP_EQ_IMM => jump(regs[dst] == imm as i64 as u64),
            JUMP_NE_REG => jump(regs[dst] != regs[src]),
            EXIT => return regs[0] == 1,
            other => panic!("operation {other:#x}"),
        }
    }
}

#[test]
fn allow_list() {
    let program = compile(&Policy::for_container(&[]).unwrap());
    assert!(run(&program, Kind::Char, READ | WRITE, 1, 3));
    assert!(run(&program, Kind::Char, WRITE, 136, 77));
    assert!(run(&program, Kind::Block, MKNOD, 8, 0));
    assert!(!run(&program, Kind::Block, READ, 8, 0));
    assert!(!run(&program, Kind::Block, MKNOD | READ, 8, 0));
    assert!(!run(&program, Kind::Char, READ, 1, 1));
}

#[test]
fn deny_list() {
    let program = compile(&policy(
        r#"[{"allow":true,"access":"rwm"},{"allow":false,"type":"b","major":8,"minor":0,"access":"w"}]"#,
    ));
    assert!(!run(&program, Kind::Block, WRITE, 8, 0));
    // A wish for more than what is denied is denied just the same.
    assert!(!run(&program, Kind::Block, READ | WRITE, 8, 0));
    assert!(run(&program, Kind::Block, READ, 8, 0));
    assert!(run(&program, Kind::Block, WRITE, 8, 1));
    assert!(run(&program, Kind::Char, WRITE, 8, 0));
}

#[test]
fn the_kernels_verifier_takes_it() {
    let program = compile(&Policy::for_container(&[]).unwrap());
    match bpf::load_device_filter(&program) {
        Ok(_) => {}
        // No privilege, or a kernel without this kind of program: nothing to prove here.
        Err(e) if !nix::unistd::geteuid().is_root() => eprintln!("not root, not loaded: {e}"),
        Err(e) if e.raw_os_error() == Some(nix::libc::ENOSYS) => eprintln!("no bpf(2) here: {e}"),
        Err(e) => panic!("{e}"),
    }
}
