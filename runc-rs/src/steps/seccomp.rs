//! The container's seccomp filter: compiled by the parent, loaded by init as its last step before exec.
//!
//! Loading comes after everything else that init does, since the filter may forbid it; only where `noNewPrivileges` is
//! off must it be loaded before capabilities are dropped (seccomp(2): CAP_SYS_ADMIN or no_new_privs).

mod enosys;

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::str::FromStr;

use libseccomp::error::SeccompError;
use libseccomp::{
    ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall, ScmpVersion,
};
use nix::errno::Errno;
use oci::runtime::{
    LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag, LinuxSeccompOperator,
    LinuxSyscall,
};
use serde::{Deserialize, Serialize};
use sys::seccomp::{FLAG_NEW_LISTENER, Insn, MAX_INSTRUCTIONS};

/// `SECCOMP_FILTER_FLAG_LOG`: actions other than "allow" are logged.
const FLAG_LOG: u32 = 1 << 1;
/// `SECCOMP_FILTER_FLAG_SPEC_ALLOW`: no mitigation of speculative store bypass.
const FLAG_SPEC_ALLOW: u32 = 1 << 2;
/// `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV`: a notified call is interrupted by a deadly signal alone.
const FLAG_WAIT_KILLABLE: u32 = 1 << 5;
/// A system call has no more arguments.
const MAX_ARGS: usize = 6;
/// From so many rules on a binary tree is worth its while; below, libseccomp 2.5 may stumble over it.
const TREE_FROM: usize = 32;

/// A compiled filter: classic BPF, ready for seccomp(2), and its flags. Serializable, to cross the handshake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// `struct sock_filter`s, eight bytes each, native byte order.
    pub filter: Vec<u8>,
    /// SECCOMP_FILTER_FLAG_*.
    pub flags: u32,
}

/// A filter that cannot be made or loaded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// config.json asks for something impossible.
    #[error("seccomp: {0}")]
    Invalid(String),
    /// A system or library call failed.
    #[error("seccomp: {call}: {reason}")]
    Call {
        /// The call.
        call: String,
        /// Its answer.
        reason: String,
    },
}

impl Error {
    fn invalid(reason: impl Into<String>) -> Self {
        Error::Invalid(reason.into())
    }

    /// A failed call of the library.
    fn library(call: impl Into<String>) -> impl FnOnce(SeccompError) -> Self {
        move |e| Error::Call { call: call.into(), reason: e.to_string() }
    }
}

/// Compiles config.json's `linux.seccomp` for the running kernel. No privileges needed, nothing is changed.
pub fn compile(seccomp: &LinuxSeccomp) -> Result<Program, Error> {
    check_notify(seccomp)?;
    let default = action(seccomp.default_action(), seccomp.default_errno_ret())?;
    let mut filter = ScmpFilterContext::new(default).map_err(Error::library("create filter"))?;
    let arches = architectures(seccomp)?;
    for (arch, name) in &arches {
        add_arch(&mut filter, *arch, name)?;
    }
    let arches: Vec<ScmpArch> = arches.into_iter().map(|(arch, _)| arch).collect();
    let rules = seccomp.syscalls().as_deref().unwrap_or_default();
    if rules.iter().map(|rule| rule.names().len()).sum::<usize>() > TREE_FROM {
        // Only a matter of speed.
        let _ = filter.set_ctl_optimize(2);
    }
    for rule in rules {
        add_rule(&mut filter, rule, default)?;
    }
    let mut program = enosys::stub(seccomp, &arches);
    program.extend(export(&filter)?);
    if program.len() > MAX_INSTRUCTIONS {
        let reason =
            format!("filter has {} instructions, the kernel takes {MAX_INSTRUCTIONS}", program.len());
        return Err(Error::Invalid(reason));
    }
    Ok(Program { filter: program.iter().flat_map(bytes_of).collect(), flags: flags(seccomp) })
}

impl Program {
    /// Puts the filter on this process, for good. Gives the listener of one that notifies.
    pub fn load(&self) -> Result<Option<OwnedFd>, Error> {
        let program = instructions(&self.filter)?;
        sys::seccomp::set_filter(&program, self.flags).map_err(|e| Error::Call {
            call: "error loading seccomp filter into kernel".into(),
            reason: crate::error::io_text(&e),
        })
    }
}

/// What config.json may ask of a supervisor: somebody must be there to answer, and not for the call by which init says
/// that there is something to answer.
fn check_notify(seccomp: &LinuxSeccomp) -> Result<(), Error> {
    if seccomp.default_action() == LinuxSeccompAction::ScmpActNotify {
        return Err(Error::invalid("SCMP_ACT_NOTIFY cannot be used as default action"));
    }
    if !notifies(seccomp) {
        return Ok(());
    }
    if listener_path(seccomp).is_none() {
        return Err(Error::invalid("linux.seccomp.listenerPath is not set, and SCMP_ACT_NOTIFY needs it"));
    }
    let mut notified = rules_of(seccomp, LinuxSeccompAction::ScmpActNotify).flat_map(|rule| rule.names());
    if notified.any(|name| name == "write") {
        return Err(Error::invalid("SCMP_ACT_NOTIFY cannot be used for the write syscall"));
    }
    Ok(())
}

fn rules_of(seccomp: &LinuxSeccomp, action: LinuxSeccompAction) -> impl Iterator<Item = &LinuxSyscall> {
    seccomp.syscalls().iter().flatten().filter(move |rule| rule.action() == action)
}

/// Whether a supervisor decides over some call.
fn notifies(seccomp: &LinuxSeccomp) -> bool {
    rules_of(seccomp, LinuxSeccompAction::ScmpActNotify).next().is_some()
}

/// The socket of the supervisor.
pub fn listener_path(seccomp: &LinuxSeccomp) -> Option<&Path> {
    seccomp.listener_path().as_deref().filter(|path| !path.as_os_str().is_empty())
}

/// Adds an architecture. One filter goes for one order of bytes, and what the library at hand does not know cannot be filtered.
fn add_arch(filter: &mut ScmpFilterContext, arch: ScmpArch, name: &str) -> Result<(), Error> {
    let failed = |e: SeccompError| {
        let version = ScmpVersion::current().map(|v| format!(" {v}")).unwrap_or_default();
        let reason = match known_to_the_library(arch) {
            true => format!("cannot be filtered together with this machine's own: {e}"),
            false => format!("architecture is not supported by libseccomp{version}"),
        };
        Error::invalid(format!("linux.seccomp.architectures: {name}: {reason}"))
    };
    match filter.is_arch_present(arch) {
        Ok(true) => Ok(()),
        Ok(false) => filter.add_arch(arch).map(drop).map_err(failed),
        Err(e) => Err(failed(e)),
    }
}

/// Whether the library at hand, which may be older than its header, knows an architecture.
pub fn known_to_the_library(arch: ScmpArch) -> bool {
    ScmpFilterContext::new(ScmpAction::Allow).and_then(|filter| filter.is_arch_present(arch)).is_ok()
}

/// The architectures that are named, and the native one; each with its name.
fn architectures(seccomp: &LinuxSeccomp) -> Result<Vec<(ScmpArch, String)>, Error> {
    let mut arches = vec![(ScmpArch::native(), "SCMP_ARCH_NATIVE".to_owned())];
    for arch in seccomp.architectures().iter().flatten() {
        let name = arch.to_string();
        if name == "SCMP_ARCH_NATIVE" {
            continue;
        }
        let arch = ScmpArch::from_str(&name).map_err(|_| {
            Error::invalid(format!("linux.seccomp.architectures: {name} is not known to libseccomp"))
        })?;
        if !arches.iter().any(|(other, _)| *other == arch) {
            arches.push((arch, name));
        }
    }
    Ok(arches)
}

/// The flags for seccomp(2). TSYNC asks for what is so anyway: init has one thread. How a notified call waits matters
/// only where some are, and without them the kernel refuses the flag.
fn flags(seccomp: &LinuxSeccomp) -> u32 {
    let listener = if notifies(seccomp) { FLAG_NEW_LISTENER } else { 0 };
    // Where none are named, not even an empty list, the one that costs a program nothing; as runc does, which decides.
    let mut flags = listener | if seccomp.flags().is_none() { FLAG_SPEC_ALLOW } else { 0 };
    for flag in seccomp.flags().iter().flatten() {
        flags |= match flag {
            LinuxSeccompFilterFlag::SeccompFilterFlagTsync => 0,
            LinuxSeccompFilterFlag::SeccompFilterFlagLog => FLAG_LOG,
            LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => FLAG_SPEC_ALLOW,
            LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv if listener == 0 => 0,
            LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => FLAG_WAIT_KILLABLE,
        };
    }
    flags
}

fn action(action: LinuxSeccompAction, errno: Option<u32>) -> Result<ScmpAction, Error> {
    use LinuxSeccompAction as Oci;
    let value = errno.unwrap_or(Errno::EPERM as u32);
    let value = u16::try_from(value)
        .map_err(|_| Error::invalid(format!("linux.seccomp: errnoRet {value} is not in 0..65535")))?;
    Ok(match action {
        Oci::ScmpActKill | Oci::ScmpActKillThread => ScmpAction::KillThread,
        Oci::ScmpActKillProcess => ScmpAction::KillProcess,
        Oci::ScmpActTrap => ScmpAction::Trap,
        Oci::ScmpActErrno => ScmpAction::Errno(value.into()),
        Oci::ScmpActNotify => ScmpAction::Notify,
        Oci::ScmpActTrace => ScmpAction::Trace(value),
        Oci::ScmpActLog => ScmpAction::Log,
        Oci::ScmpActAllow => ScmpAction::Allow,
    })
}

/// Adds what a rule says of each of its system calls. Unknown ones are passed over: profiles name calls of every
/// kernel and architecture.
fn add_rule(filter: &mut ScmpFilterContext, rule: &LinuxSyscall, default: ScmpAction) -> Result<(), Error> {
    let act = action(rule.action(), rule.errno_ret())?;
    // libseccomp refuses a rule that changes nothing.
    if act == default {
        return Ok(());
    }
    let args = rule.args().as_deref().unwrap_or_default();
    for name in rule.names() {
        if name.is_empty() {
            return Err(Error::invalid("empty string is not a valid syscall"));
        }
        let Ok(call) = ScmpSyscall::from_name(name) else { continue };
        let failed = || Error::library(format!("error adding seccomp filter rule for syscall {name}"));
        for conditions in conditions(name, args)? {
            match conditions.as_slice() {
                [] => filter.add_rule(act, call).map_err(failed())?,
                some => filter.add_rule_conditional(act, call, some).map_err(failed())?,
            };
        }
    }
    Ok(())
}

/// The conditions of a rule: all of them together, but each for itself when two are about the same argument, which
/// libseccomp cannot join.
fn conditions(name: &str, args: &[LinuxSeccompArg]) -> Result<Vec<Vec<ScmpArgCompare>>, Error> {
    let mut used = [0; MAX_ARGS];
    let mut all = Vec::with_capacity(args.len());
    for arg in args {
        let count = used.get_mut(arg.index()).ok_or_else(|| {
            Error::invalid(format!(
                "syscall {name}: argument index {} is not in 0..{}",
                arg.index(),
                MAX_ARGS - 1
            ))
        })?;
        *count += 1;
        all.push(condition(arg));
    }
    Ok(if used.iter().any(|count| *count > 1) {
        all.into_iter().map(|c| vec![c]).collect()
    } else {
        vec![all]
    })
}

fn condition(arg: &LinuxSeccompArg) -> ScmpArgCompare {
    use LinuxSeccompOperator as Op;
    let value = arg.value();
    let (op, datum) = match arg.op() {
        Op::ScmpCmpNe => (ScmpCompareOp::NotEqual, value),
        Op::ScmpCmpLt => (ScmpCompareOp::Less, value),
        Op::ScmpCmpLe => (ScmpCompareOp::LessOrEqual, value),
        Op::ScmpCmpEq => (ScmpCompareOp::Equal, value),
        Op::ScmpCmpGe => (ScmpCompareOp::GreaterEqual, value),
        Op::ScmpCmpGt => (ScmpCompareOp::Greater, value),
        // (argument & value) == valueTwo
        Op::ScmpCmpMaskedEq => (ScmpCompareOp::MaskedEqual(value), arg.value_two().unwrap_or_default()),
    };
    ScmpArgCompare::new(arg.index() as u32, op, datum)
}

/// The program that the library made. It writes to a descriptor; memory takes any length.
fn export(filter: &ScmpFilterContext) -> Result<Vec<Insn>, Error> {
    let failed = |e: std::io::Error| Error::Call { call: "export filter".into(), reason: e.to_string() };
    let memory =
        rustix::fs::memfd_create("seccomp", rustix::fs::MemfdFlags::CLOEXEC).map_err(|e| failed(e.into()))?;
    filter.export_bpf(memory.as_fd()).map_err(Error::library("export filter"))?;
    let mut memory = File::from(memory);
    let mut bytes = Vec::new();
    memory.seek(SeekFrom::Start(0)).and_then(|_| memory.read_to_end(&mut bytes)).map_err(failed)?;
    instructions(&bytes)
}

fn instructions(bytes: &[u8]) -> Result<Vec<Insn>, Error> {
    let (words, rest) = bytes.as_chunks::<8>();
    if !rest.is_empty() {
        return Err(Error::invalid(format!("a filter of {} bytes is cut short", bytes.len())));
    }
    Ok(words
        .iter()
        .map(|&[c0, c1, jt, jf, k0, k1, k2, k3]| Insn {
            code: u16::from_ne_bytes([c0, c1]),
            jt,
            jf,
            k: u32::from_ne_bytes([k0, k1, k2, k3]),
        })
        .collect())
}

fn bytes_of(insn: &Insn) -> [u8; 8] {
    let [c0, c1] = insn.code.to_ne_bytes();
    let [k0, k1, k2, k3] = insn.k.to_ne_bytes();
    [c0, c1, insn.jt, insn.jf, k0, k1, k2, k3]
}

#[cfg(test)]
mod tests;
