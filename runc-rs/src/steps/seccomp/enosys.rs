//! "No such system call" for what is newer than the profile.
//!
//! A profile answers EPERM to calls that it does not name, and a C library that tries a new call takes EPERM for the
//! last word where ENOSYS would make it fall back. So the filter is preceded by a stub that answers ENOSYS to every
//! number above the highest that the profile names, per architecture. The idea, and when not to do it, are runc's.

use libseccomp::{ScmpArch, ScmpSyscall};
use nix::errno::Errno;
use oci::runtime::{LinuxSeccomp, LinuxSeccompAction};
use sys::seccomp::Insn;

// Operations (include/uapi/linux/bpf_common.h).
const LOAD: u16 = 0x20;
const JUMP: u16 = 0x05;
const JUMP_EQ: u16 = 0x15;
const JUMP_GT: u16 = 0x25;
const JUMP_SET: u16 = 0x45;
const RETURN: u16 = 0x06;

// Offsets in struct seccomp_data.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;

/// SECCOMP_RET_ERRNO with ENOSYS.
const ANSWER: u32 = 0x0005_0000 | Errno::ENOSYS as u32;
/// What x32 adds to the numbers of its calls.
const X32_BIT: u32 = 0x4000_0000;

// AUDIT_ARCH_* (include/uapi/linux/audit.h).
const AUDIT_X86_64: u32 = 0xc000_003e;
const AUDIT_S390: u32 = 0x16;
const AUDIT_S390X: u32 = 0x8000_0016;

/// The instructions to put before the filter; none where the default action already says so or allows.
pub fn stub(seccomp: &LinuxSeccomp, arches: &[ScmpArch]) -> Vec<Insn> {
    if !is_wanted(seccomp) {
        return Vec::new();
    }
    let has_x32 = arches.contains(&ScmpArch::X32);
    let mut blocks = Vec::new();
    // x32 calls come under the number of x86-64, in whose block they are told apart.
    for arch in arches.iter().copied().filter(|arch| *arch != ScmpArch::X32) {
        let x32 = (arch == ScmpArch::X8664 && has_x32).then(|| highest(seccomp, ScmpArch::X32)).flatten();
        let native = highest(seccomp, arch);
        if let Some(audit) = audit_arch(arch).filter(|_| native.or(x32).is_some()) {
            blocks.push((audit, block(audit, native, x32)));
        }
    }
    link(&blocks)
}

fn is_wanted(seccomp: &LinuxSeccomp) -> bool {
    use LinuxSeccompAction::{ScmpActAllow, ScmpActErrno, ScmpActLog, ScmpActTrace};
    match seccomp.default_action() {
        ScmpActAllow | ScmpActLog | ScmpActTrace => false,
        ScmpActErrno => seccomp.default_errno_ret() != Some(Errno::ENOSYS as u32),
        _ => true,
    }
}

/// The highest number that the profile names on an architecture.
fn highest(seccomp: &LinuxSeccomp, arch: ScmpArch) -> Option<u32> {
    let names = seccomp.syscalls().iter().flatten().flat_map(|rule| rule.names());
    names
        .filter_map(|name| ScmpSyscall::from_name_by_arch(name, arch).ok())
        // Calls that the architecture does not have get negative numbers.
        .filter_map(|call| u32::try_from(i32::from(call)).ok())
        .max()
        .filter(|number| *number != 0)
}

/// The instructions for one architecture. The last one leaves for the filter; its distance is set by [`link`].
fn block(audit: u32, native: Option<u32>, x32: Option<u32>) -> Vec<Insn> {
    let never = u32::MAX;
    let native = native.unwrap_or(never);
    let mut block = vec![insn(LOAD, 0, 0, NUMBER)];
    match audit {
        AUDIT_X86_64 => block.extend([
            insn(JUMP_SET, 1, 0, X32_BIT),
            insn(JUMP_GT, 1, 2, native),
            insn(JUMP_GT, 0, 1, x32.unwrap_or(never)),
        ]),
        // Calls with large numbers come as number 0 where the kernel does not know them.
        AUDIT_S390 | AUDIT_S390X => block.extend([insn(JUMP_EQ, 1, 0, 0), insn(JUMP_GT, 0, 1, native)]),
        _ => block.push(insn(JUMP_GT, 0, 1, native)),
    }
    block.extend([insn(RETURN, 0, 0, ANSWER), insn(JUMP, 0, 0, 0)]);
    block
}

/// Strings the blocks together: each is entered for its architecture alone, and left for the end of them all.
fn link(blocks: &[(u32, Vec<Insn>)]) -> Vec<Insn> {
    if blocks.is_empty() {
        return Vec::new();
    }
    let length = 1 + blocks.iter().map(|(_, block)| 1 + block.len()).sum::<usize>();
    let mut program = vec![insn(LOAD, 0, 0, ARCH)];
    for (audit, block) in blocks {
        program.push(insn(JUMP_EQ, 0, block.len() as u8, *audit));
        program.extend(block);
        let left = length - program.len();
        if let Some(leave) = program.last_mut() {
            leave.k = left as u32;
        }
    }
    program
}

fn insn(code: u16, jt: u8, jf: u8, k: u32) -> Insn {
    Insn { code, jt, jf, k }
}

/// The kernel's number of an architecture. For most, libseccomp's token is the same.
fn audit_arch(arch: ScmpArch) -> Option<u32> {
    Some(match arch {
        ScmpArch::X86 => 0x4000_0003,
        ScmpArch::X8664 | ScmpArch::X32 => AUDIT_X86_64,
        ScmpArch::Arm => 0x4000_0028,
        ScmpArch::Aarch64 => 0xc000_00b7,
        ScmpArch::Mips => 0x0000_0008,
        ScmpArch::Mips64 => 0x8000_0008,
        ScmpArch::Mips64N32 => 0xa000_0008,
        ScmpArch::Mipsel => 0x4000_0008,
        ScmpArch::Mipsel64 => 0xc000_0008,
        ScmpArch::Mipsel64N32 => 0xe000_0008,
        ScmpArch::Ppc => 0x0000_0014,
        ScmpArch::Ppc64 => 0x8000_0015,
        ScmpArch::Ppc64Le => 0xc000_0015,
        ScmpArch::S390 => AUDIT_S390,
        ScmpArch::S390X => AUDIT_S390X,
        ScmpArch::Riscv64 => 0xc000_00f3,
        _ => return None,
    })
}
