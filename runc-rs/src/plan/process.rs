//! The container's program and its rights (config.md, "Process").

use std::collections::HashSet;
use std::path::PathBuf;
use std::str::FromStr;

use oci::runtime::{
    Capabilities, IOPriorityClass, LinuxCapabilities, LinuxSchedulerFlag, LinuxSchedulerPolicy,
    PosixRlimitType, Process as SpecProcess, Scheduler as SpecScheduler,
};
use rustix::process::Resource;
use sys::sched::SchedAttr;

use crate::error::{Error, Result};

/// A program to run, and as whom.
#[derive(Debug, Clone)]
pub struct Process {
    /// Program and arguments; not empty.
    pub args: Vec<String>,
    /// `KEY=value` pairs.
    pub env: Vec<String>,
    /// Working directory in the container; absolute.
    pub cwd: PathBuf,
    /// Whether it gets a terminal.
    pub terminal: bool,
    /// Rows and columns of the terminal.
    pub console_size: Option<(u16, u16)>,
    /// User id in the container.
    pub uid: u32,
    /// Group id in the container.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// File mode creation mask.
    pub umask: u32,
    /// Capabilities; `None` is none at all, as with runc.
    pub capabilities: Option<Caps>,
    /// Resource limits: soft and hard.
    pub rlimits: Vec<Rlimit>,
    /// Whether exec may not give rights (prctl(2), PR_SET_NO_NEW_PRIVS).
    pub no_new_privileges: bool,
    /// AppArmor profile; empty for none.
    pub apparmor: String,
    /// SELinux label; empty for none.
    pub selinux: String,
    /// /proc/PID/oom_score_adj.
    pub oom_score_adj: Option<i32>,
    /// Scheduling policy.
    pub scheduler: Option<SchedAttr>,
    /// Input/output priority: class and level.
    pub io_priority: Option<(u16, u16)>,
    /// Processors an exec'd process starts on, and those it then runs on (lists as in `0-3,7`).
    pub cpu_affinity: (Option<String>, Option<String>),
}

/// The five sets of capabilities(7), a bit each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Caps {
    /// The most that can be had.
    pub bounding: u64,
    /// In force.
    pub effective: u64,
    /// Kept through exec of files that have it.
    pub inheritable: u64,
    /// Can be put in force.
    pub permitted: u64,
    /// Kept through exec of plain files.
    pub ambient: u64,
}

/// One resource limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rlimit {
    /// Of what.
    pub resource: Resource,
    /// In force.
    pub soft: u64,
    /// The most it can be raised to.
    pub hard: u64,
}

impl Process {
    /// Checks and converts `process` of config.json, or what `exec --process` reads.
    pub fn from_spec(process: &SpecProcess) -> Result<Self> {
        let args = process.args().clone().unwrap_or_default();
        check(process, &args)?;
        let user = process.user();
        let affinity = process.exec_cpu_affinity().as_ref();
        Ok(Process {
            args,
            env: process.env().clone().unwrap_or_default(),
            cwd: process.cwd().clone(),
            terminal: process.terminal().unwrap_or(false),
            console_size: process.console_size().map(|b| (clamp(b.height()), clamp(b.width()))),
            uid: user.uid(),
            gid: user.gid(),
            groups: user.additional_gids().clone().unwrap_or_default(),
            umask: user.umask().unwrap_or(0o022),
            capabilities: process.capabilities().as_ref().map(Caps::from_spec),
            rlimits: rlimits(process)?,
            no_new_privileges: process.no_new_privileges().unwrap_or(false),
            apparmor: process.apparmor_profile().clone().unwrap_or_default(),
            selinux: process.selinux_label().clone().unwrap_or_default(),
            oom_score_adj: process.oom_score_adj(),
            scheduler: process.scheduler().as_ref().map(scheduler).transpose()?,
            io_priority: io_priority(process)?,
            cpu_affinity: (
                affinity.and_then(|a| a.initial().clone()),
                affinity.and_then(|a| a.cpu_affinity_final().clone()),
            ),
        })
    }
}

/// The kernel takes the highest number for "leave it as it is", which is root (setresuid(2)).
fn check_ids(process: &SpecProcess) -> Result<()> {
    let user = process.user();
    let others = user.additional_gids().as_deref().unwrap_or_default();
    let mut ids = [user.uid(), user.gid()].into_iter().chain(others.iter().copied());
    match ids.all(|id| i32::try_from(id).is_ok()) {
        true => Ok(()),
        false => Err(Error::new("unable to setup user: uids and gids must be in range 0-2147483647")),
    }
}

fn check(process: &SpecProcess, args: &[String]) -> Result<()> {
    if args.is_empty() {
        return Err(Error::new("args must not be empty"));
    }
    if process.cwd().as_os_str().is_empty() {
        return Err(Error::new("Cwd property must not be empty"));
    }
    if !process.cwd().is_absolute() {
        return Err(Error::new("Cwd must be an absolute path"));
    }
    check_ids(process)?;
    let env = process.env().as_deref().unwrap_or_default();
    for text in args.iter().chain(env) {
        if text.contains('\0') {
            return Err(Error::new(format!("{text:?} contains a nul byte")));
        }
    }
    for pair in env {
        if pair.split_once('=').is_none_or(|(key, _)| key.is_empty()) {
            return Err(Error::new(format!("invalid environment variable: {pair:?}")));
        }
    }
    if let Some(adj) = process.oom_score_adj().filter(|adj| !(-1000..=1000).contains(adj)) {
        return Err(Error::new(format!("invalid oomScoreAdj {adj}: must be between -1000 and 1000")));
    }
    Ok(())
}

fn clamp(n: u64) -> u16 {
    u16::try_from(n).unwrap_or(u16::MAX)
}

impl Caps {
    fn from_spec(caps: &LinuxCapabilities) -> Self {
        Caps {
            bounding: bits(caps.bounding().as_ref()),
            effective: bits(caps.effective().as_ref()),
            inheritable: bits(caps.inheritable().as_ref()),
            permitted: bits(caps.permitted().as_ref()),
            ambient: bits(caps.ambient().as_ref()),
        }
    }

    /// Adds what `exec --cap` names: never to the inheritable set (CVE-2022-29162), and to the ambient set only what
    /// is inheritable already.
    pub fn add(&mut self, bit: u64) {
        self.bounding |= bit;
        self.effective |= bit;
        self.permitted |= bit;
        self.ambient |= bit & self.inheritable;
    }

    /// The bit of a capability by name, `CAP_` in front or not.
    pub fn bit(name: &str) -> Result<u64> {
        let upper = name.to_uppercase();
        let full = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
        caps::Capability::from_str(&full)
            .map(|cap| cap.bitmask())
            .map_err(|_| Error::new(format!("unknown capability {name:?}")))
    }
}

fn bits(set: Option<&Capabilities>) -> u64 {
    // Names that the specification has and this table lacks cannot occur: both know all up to the kernel's last.
    set.into_iter().flatten().filter_map(|cap| Caps::bit(&cap.to_string()).ok()).fold(0, |all, bit| all | bit)
}

fn rlimits(process: &SpecProcess) -> Result<Vec<Rlimit>> {
    let mut all: Vec<Rlimit> = Vec::new();
    for limit in process.rlimits().iter().flatten() {
        let resource = resource(limit.typ());
        if all.iter().any(|l| l.resource == resource) {
            return Err(Error::new(format!("duplicated rlimit {:?}", limit.typ().to_string())));
        }
        all.push(Rlimit { resource, soft: limit.soft(), hard: limit.hard() });
    }
    Ok(all)
}

fn resource(kind: PosixRlimitType) -> Resource {
    match kind {
        PosixRlimitType::RlimitCpu => Resource::Cpu,
        PosixRlimitType::RlimitFsize => Resource::Fsize,
        PosixRlimitType::RlimitData => Resource::Data,
        PosixRlimitType::RlimitStack => Resource::Stack,
        PosixRlimitType::RlimitCore => Resource::Core,
        PosixRlimitType::RlimitRss => Resource::Rss,
        PosixRlimitType::RlimitNproc => Resource::Nproc,
        PosixRlimitType::RlimitNofile => Resource::Nofile,
        PosixRlimitType::RlimitMemlock => Resource::Memlock,
        PosixRlimitType::RlimitAs => Resource::As,
        PosixRlimitType::RlimitLocks => Resource::Locks,
        PosixRlimitType::RlimitSigpending => Resource::Sigpending,
        PosixRlimitType::RlimitMsgqueue => Resource::Msgqueue,
        PosixRlimitType::RlimitNice => Resource::Nice,
        PosixRlimitType::RlimitRtprio => Resource::Rtprio,
        PosixRlimitType::RlimitRttime => Resource::Rttime,
    }
}

/// sched(7); numbers from linux/sched.h.
fn scheduler(s: &SpecScheduler) -> Result<SchedAttr> {
    let policy = match s.policy() {
        LinuxSchedulerPolicy::SchedOther => 0,
        LinuxSchedulerPolicy::SchedFifo => 1,
        LinuxSchedulerPolicy::SchedRr => 2,
        LinuxSchedulerPolicy::SchedBatch => 3,
        LinuxSchedulerPolicy::SchedIso => 4,
        LinuxSchedulerPolicy::SchedIdle => 5,
        LinuxSchedulerPolicy::SchedDeadline => 6,
    };
    let nice = s.nice().unwrap_or(0);
    // To the other policies it is nothing.
    if matches!(policy, 0 | 3) && !(-20..=19).contains(&nice) {
        let policy = s.policy();
        return Err(Error::new(format!("invalid scheduler.nice: {nice} when scheduler.policy is {policy}")));
    }
    let priority = s.priority().unwrap_or(0);
    let real_time = matches!(policy, 1 | 2);
    if priority != 0 && !real_time {
        return Err(Error::new("scheduler.priority can only be specified for SchedFIFO or SchedRR policy"));
    }
    let times = (s.runtime().unwrap_or(0), s.deadline().unwrap_or(0), s.period().unwrap_or(0));
    if policy != 6 && times != (0, 0, 0) {
        return Err(Error::new(
            "scheduler runtime/deadline/period can only be specified for SchedDeadline policy",
        ));
    }
    let flags = s.flags().iter().flatten().map(|f| scheduler_flag(*f)).fold(0, |all, flag| all | flag);
    Ok(SchedAttr {
        size: 0,
        policy,
        flags,
        nice,
        priority: u32::try_from(priority).map_err(|_| Error::new("invalid scheduler.priority"))?,
        runtime: times.0,
        deadline: times.1,
        period: times.2,
    })
}

fn scheduler_flag(flag: LinuxSchedulerFlag) -> u64 {
    match flag {
        LinuxSchedulerFlag::SchedResetOnFork => 0x01,
        LinuxSchedulerFlag::SchedFlagReclaim => 0x02,
        LinuxSchedulerFlag::SchedFlagDLOverrun => 0x04,
        LinuxSchedulerFlag::SchedFlagKeepPolicy => 0x08,
        LinuxSchedulerFlag::SchedFlagKeepParams => 0x10,
        LinuxSchedulerFlag::SchedFlagUtilClampMin => 0x20,
        LinuxSchedulerFlag::SchedFlagUtilClampMax => 0x40,
    }
}

/// ioprio_set(2).
fn io_priority(process: &SpecProcess) -> Result<Option<(u16, u16)>> {
    let Some(io) = process.io_priority() else { return Ok(None) };
    let class = match io.class() {
        IOPriorityClass::IoprioClassRt => 1,
        IOPriorityClass::IoprioClassBe => 2,
        IOPriorityClass::IoprioClassIdle => 3,
    };
    match u16::try_from(io.priority()) {
        Ok(level) if level < 8 => Ok(Some((class, level))),
        _ => Err(Error::new(format!("invalid ioPriority.Priority: {}", io.priority()))),
    }
}

/// Reads a list of numbers as `0-3,7` (cpuset(7), "List format").
pub fn number_list(text: &str) -> Result<Vec<usize>> {
    let bad = || Error::new(format!("invalid list {text:?}"));
    let mut all = Vec::new();
    for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (from, to): (usize, usize) = (from.parse().map_err(|_| bad())?, to.parse().map_err(|_| bad())?);
        if from > to || to >= 1024 {
            return Err(bad());
        }
        all.extend(from..=to);
    }
    Ok(all)
}

/// An environment in which every name is there once: with its last value, for most programs take the first they find. What comes
/// later, as the variables of `exec --env`, replaces what was before.
pub fn unique(env: &[String]) -> Vec<String> {
    let name = |pair: &'_ str| pair.split_once('=').map_or(pair.len(), |(name, _)| name.len());
    let mut seen = HashSet::new();
    let mut kept: Vec<String> =
        env.iter().rev().filter(|pair| seen.insert(&pair[..name(pair)])).cloned().collect();
    kept.reverse();
    kept
}

/// Value of a variable of the container's environment; the last one counts.
pub fn variable<'a>(env: &'a [String], key: &str) -> Option<&'a str> {
    env.iter().rev().find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(json: &str) -> Result<Process> {
        let mut value = serde_json::json!({"user": {"uid": 0, "gid": 0}, "args": ["sh"], "cwd": "/"});
        let extra: serde_json::Value = serde_json::from_str(json).unwrap();
        value.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        Process::from_spec(&serde_json::from_value(value).unwrap())
    }

    #[test]
    fn refusals_in_runcs_words() {
        let text = |json: &str| process(json).unwrap_err().to_string();
        assert_eq!(text(r#"{"args":[]}"#), "args must not be empty");
        assert_eq!(text(r#"{"cwd":""}"#), "Cwd property must not be empty");
        assert_eq!(text(r#"{"cwd":"tmp"}"#), "Cwd must be an absolute path");
        assert!(text(r#"{"env":["novalue"]}"#).contains("novalue"));
        for user in [
            r#"{"uid":4294967295,"gid":0}"#,
            r#"{"uid":0,"gid":4294967295}"#,
            r#"{"uid":2147483648,"gid":0}"#,
        ] {
            assert!(
                text(&format!(r#"{{"user":{user}}}"#))
                    .ends_with("uids and gids must be in range 0-2147483647")
            );
        }
        assert!(text(r#"{"user":{"uid":1,"gid":1,"additionalGids":[4294967295]}}"#).contains("in range"));
        process(r#"{"user":{"uid":2147483647,"gid":2147483647}}"#).unwrap();
        assert!(text(r#"{"oomScoreAdj":2000}"#).contains("2000"));
        assert_eq!(
            text(r#"{"scheduler":{"policy":"SCHED_BATCH","nice":40}}"#),
            "invalid scheduler.nice: 40 when scheduler.policy is SCHED_BATCH"
        );
        process(r#"{"scheduler":{"policy":"SCHED_FIFO","priority":1,"nice":40}}"#).unwrap();
        assert_eq!(
            text(r#"{"ioPriority":{"class":"IOPRIO_CLASS_BE","priority":8}}"#),
            "invalid ioPriority.Priority: 8"
        );
        assert!(
            text(r#"{"rlimits":[{"type":"RLIMIT_CPU","soft":1,"hard":1},{"type":"RLIMIT_CPU","soft":1,"hard":1}]}"#)
                .contains("RLIMIT_CPU")
        );
    }

    #[test]
    fn capability_sets() {
        let p = process(
            r#"{"capabilities":{"bounding":["CAP_CHOWN","CAP_KILL"],"effective":["CAP_CHOWN"],
                "permitted":["CAP_CHOWN"],"inheritable":[],"ambient":[]}}"#,
        )
        .unwrap();
        let mut caps = p.capabilities.unwrap();
        assert_eq!((caps.bounding, caps.effective, caps.inheritable), (0b10_0001, 1, 0));
        caps.add(Caps::bit("net_admin").unwrap());
        assert_eq!(caps.inheritable, 0);
        assert_eq!(caps.ambient, 0);
        assert_eq!(caps.effective, 1 | 1 << 12);
        assert_eq!(Caps::bit("CAP_CHECKPOINT_RESTORE").unwrap(), 1 << 40);
        assert!(Caps::bit("CAP_NONE").is_err());
    }

    #[test]
    fn lists() {
        assert_eq!(number_list("0-2, 7").unwrap(), [0, 1, 2, 7]);
        assert_eq!(number_list("").unwrap(), Vec::<usize>::new());
        for bad in ["3-1", "x", "1-", "99999"] {
            assert!(number_list(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_name_is_there_once() {
        let env = ["A=1", "AB=2", "A=3", "B=", "A=4=5"].map(str::to_owned);
        assert_eq!(unique(&env), ["AB=2", "B=", "A=4=5"]);
    }

    #[test]
    fn the_last_variable_counts() {
        let env = ["A=1".to_owned(), "AB=2".to_owned(), "A=3".to_owned()];
        assert_eq!(variable(&env, "A"), Some("3"));
        assert_eq!(variable(&env, "B"), None);
    }
}
