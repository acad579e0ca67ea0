//! Device rules: a BPF program on the cgroup's directory (BPF_PROG_TYPE_CGROUP_DEVICE).
//!
//! The program gets `struct bpf_cgroup_dev_ctx`: access << 16 | kind, major, minor, each 32 bits, and answers 1 for yes.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};
use oci::runtime::LinuxDeviceCgroup;
use rustix::fs::{Mode, OFlags};
use sys::bpf::{self, Insn};

use crate::cgroup::device_rules::{ALL, Devices, Kind, Policy};
use crate::cgroup::{Error, Result};

// Operations (include/uapi/linux/bpf_common.h, bpf.h).
const LOAD_WORD: u8 = 0x61;
const AND_IMM32: u8 = 0x54;
const SHIFT_RIGHT_IMM32: u8 = 0x74;
const MOVE_IMM32: u8 = 0xb4;
const MOVE_REG32: u8 = 0xbc;
const JUMP_EQ_IMM: u8 = 0x15;
const JUMP_NE_IMM: u8 = 0x55;
const JUMP_NE_REG: u8 = 0x5d;
const EXIT: u8 = 0x95;

// Registers: the answer, the context (later scratch), and what is read from it.
const R0: u8 = 0;
const R1: u8 = 1;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

/// Puts the program for `rules` and the default rules on the cgroup, in the place of the one that is there.
pub fn set(dir: &Path, rules: &[LinuxDeviceCgroup]) -> Result<()> {
    let program = compile(&Policy::for_container(rules)?);
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let cgroup = rustix::fs::open(dir, flags, Mode::empty()).map_err(|e| Error::io("open", dir, e))?;
    let failed = |call: &str| {
        let call = format!("bpf({call}) device filter of");
        move |e: std::io::Error| Error::io(call, dir, e)
    };
    let old = bpf::device_filters(cgroup.as_fd()).map_err(failed("BPF_PROG_QUERY"))?;
    let new = load(&program).map_err(failed("BPF_PROG_LOAD"))?;
    if let [only] = old.as_slice() {
        let replaced = bpf::attach_device_filter(cgroup.as_fd(), new.as_fd(), Some(only.as_fd()));
        // Kernels before 5.6 do not know BPF_F_REPLACE.
        if !matches!(&replaced, Err(e) if e.kind() == std::io::ErrorKind::InvalidInput) {
            return replaced.map_err(failed("BPF_PROG_ATTACH"));
        }
    }
    bpf::attach_device_filter(cgroup.as_fd(), new.as_fd(), None).map_err(failed("BPF_PROG_ATTACH"))?;
    old.iter().try_for_each(|program| {
        bpf::detach_device_filter(cgroup.as_fd(), program.as_fd()).map_err(failed("BPF_PROG_DETACH"))
    })
}

/// Loads with the limit of locked memory lifted, under which programs count on kernels before 5.11, and puts the limit
/// back: the container would inherit it. A refusal to lift it shows when loading.
fn load(program: &[Insn]) -> std::io::Result<OwnedFd> {
    let old = getrlimit(Resource::RLIMIT_MEMLOCK);
    let _ = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY);
    let loaded = bpf::load_device_filter(program);
    if let Ok((soft, hard)) = old {
        let _ = setrlimit(Resource::RLIMIT_MEMLOCK, soft, hard);
    }
    loaded
}

/// The program: load the three words, a block for each exception, the default at the end.
fn compile(policy: &Policy) -> Vec<Insn> {
    let default = i32::from(policy.allows_by_default());
    let mut program = vec![
        insn(LOAD_WORD, KIND, R1, 0, 0),
        insn(AND_IMM32, KIND, 0, 0, 0xffff),
        insn(LOAD_WORD, ACCESS, R1, 0, 0),
        insn(SHIFT_RIGHT_IMM32, ACCESS, 0, 0, 16),
        insn(LOAD_WORD, MAJOR, R1, 4, 0),
        insn(LOAD_WORD, MINOR, R1, 8, 0),
    ];
    for (devices, access) in policy.exceptions() {
        program.extend(block(devices, access, 1 - default));
    }
    program.extend(answer(default));
    program
}

/// Answers if the devices match and, allowing, if all that is wanted is granted; denying, if any of it is denied.
fn block(devices: &Devices, access: u8, verdict: i32) -> Vec<Insn> {
    let kind = if devices.kind == Kind::Block { 1 } else { 2 };
    let mut tests = vec![insn(JUMP_NE_IMM, KIND, 0, 0, kind)];
    if access != ALL {
        tests.push(insn(MOVE_REG32, R1, ACCESS, 0, 0));
        tests.push(insn(AND_IMM32, R1, 0, 0, access.into()));
        tests.push(match verdict {
            1 => insn(JUMP_NE_REG, R1, ACCESS, 0, 0),
            _ => insn(JUMP_EQ_IMM, R1, 0, 0, 0),
        });
    }
    for (register, number) in [(MAJOR, devices.major), (MINOR, devices.minor)] {
        // The comparison is of 64 bits with a sign-extended immediate; device numbers have 12 and 20 bits.
        tests.extend(number.map(|number| insn(JUMP_NE_IMM, register, 0, 0, number as i32)));
    }
    tests.extend(answer(verdict));
    let end = tests.len();
    for (at, test) in tests.iter_mut().enumerate() {
        if matches!(test.code, JUMP_NE_IMM | JUMP_NE_REG | JUMP_EQ_IMM) {
            test.off = (end - at - 1) as i16;
        }
    }
    tests
}

fn answer(verdict: i32) -> [Insn; 2] {
    [insn(MOVE_IMM32, R0, 0, 0, verdict), insn(EXIT, 0, 0, 0, 0)]
}

fn insn(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> Insn {
    Insn { code, regs: dst | src << 4, off, imm }
}

#[cfg(test)]
mod tests;
