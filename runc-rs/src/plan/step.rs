//! The steps that a container's init takes, and where the specification asks for each.

use std::path::PathBuf;

use sys::sched::SchedAttr;

use super::devices::Device;
use super::mounts::Mount;
use super::options::Propagation;

/// How init comes to stand in the container's root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enter {
    /// pivot_root(2); nothing of the host stays within reach.
    Pivot,
    /// `--no-pivot`: the mount is moved over `/` (for roots on a ramdisk).
    Move,
    /// chroot(2): without a mount namespace there is nothing else.
    Chroot,
}

/// One step of init.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Join a session keyring of the container's own.
    Keyring,
    /// Bring the loopback interface up.
    Loopback,
    /// Cut the host's mounts off, and make the root a mount.
    BindRoot {
        /// Propagation of the host's mounts.
        propagation: Propagation,
    },
    /// Mount something.
    Mount(Box<Mount>),
    /// Make a device node.
    Device(Device),
    /// Bind a device node of the host: a user namespace may not make nodes.
    BindDevice(Device),
    /// Make a symbolic link.
    Symlink {
        /// What it says.
        target: String,
        /// Where it is.
        path: PathBuf,
    },
    /// Tell the parent that mounts are there: it sets cgroup limits and runs `prestart` and `createRuntime` hooks.
    RuntimeHooks {
        /// Until that is done. Else init waits before it fills /dev, at which it opens devices.
        wait: bool,
    },
    /// Run the `createContainer` hooks.
    CreateContainerHooks,
    /// Stand in the root.
    EnterRoot(Enter),
    /// Take the container's null device for standard streams that are the host's.
    NullStreams,
    /// Make the working directory if it is missing.
    WorkingDirectory(PathBuf),
    /// Make a terminal, hand its master out, and take it as the controlling terminal.
    Console {
        /// Whether it is mounted on /dev/console.
        mount: bool,
    },
    /// Propagation of the container's root.
    RootPropagation(Propagation),
    /// Make a mount read-only.
    ReadonlyMount(PathBuf),
    /// Set the host name.
    Hostname(String),
    /// Set the NIS domain name.
    Domainname(String),
    /// Set a kernel parameter.
    Sysctl {
        /// File below /proc/sys.
        path: String,
        /// What is written.
        value: String,
    },
    /// Make a path read-only.
    ReadonlyPath(PathBuf),
    /// Hide paths.
    MaskedPaths {
        /// Absolute paths inside the root.
        paths: Vec<PathBuf>,
        /// The SELinux label of what covers directories; empty for none.
        label: String,
    },
    /// AppArmor profile from exec on.
    Apparmor(String),
    /// SELinux label from exec on.
    Selinux(String),
    /// No rights through exec.
    NoNewPrivileges,
    /// Scheduling policy.
    Scheduler(SchedAttr),
    /// Input/output priority.
    IoPriority {
        /// 1 real time, 2 best effort, 3 idle.
        class: u16,
        /// 0 (first) to 7.
        level: u16,
    },
    /// Memory policy.
    MemoryPolicy {
        /// MPOL_* and MPOL_F_*.
        mode: i32,
        /// Nodes.
        nodes: Vec<usize>,
    },
    /// Execution domain.
    Personality(u32),
    /// Processors to run on.
    CpuAffinity(String),
    /// Tell the parent that all is set up: it sets resource limits and records the container.
    Ready,
    /// Complete the environment (HOME).
    Environment,
    /// Close every descriptor that is neither the program's nor needed to become it.
    CloseDescriptors,
    /// Load the system call filter.
    Seccomp,
    /// Become the process's user, with its groups, capabilities and working directory.
    Identity,
    /// Look for the program.
    FindProgram,
    /// Tell the parent that creation is done, and wait for `start`.
    AwaitStart,
    /// Run the `startContainer` hooks.
    StartContainerHooks,
    /// Execute the program.
    Execute,
}

impl Step {
    /// The clause of the runtime specification that asks for it, or of runc's habits where the specification is silent.
    pub fn clause(&self) -> &'static str {
        match self {
            Step::Keyring => "runc: a session keyring per container",
            Step::Loopback => "runc: loopback is up in a new network namespace",
            Step::BindRoot { .. } | Step::EnterRoot(_) | Step::ReadonlyMount(_) => "config.md, Root",
            Step::Mount(_) => "config.md, Mounts",
            Step::Device(_) | Step::BindDevice(_) => "config-linux.md, Devices and Default Devices",
            Step::Symlink { .. } => "runtime-linux.md, Dev symbolic links",
            Step::RuntimeHooks { .. } => "config.md, Prestart and CreateRuntime Hooks",
            Step::CreateContainerHooks => "config.md, CreateContainer Hooks",
            Step::StartContainerHooks => "config.md, StartContainer Hooks",
            Step::Console { .. } => "config.md, Process, terminal",
            Step::RootPropagation(_) => "config-linux.md, Rootfs Mount Propagation",
            Step::Hostname(_) => "config.md, Hostname",
            Step::Domainname(_) => "config.md, Domainname",
            Step::Sysctl { .. } => "config-linux.md, Sysctl",
            Step::ReadonlyPath(_) => "config-linux.md, Readonly Paths",
            Step::MaskedPaths { .. } => "config-linux.md, Masked Paths",
            Step::Apparmor(_) => "config.md, Linux Process, apparmorProfile",
            Step::Selinux(_) => "config.md, Linux Process, selinuxLabel",
            Step::NoNewPrivileges => "config.md, Linux Process, noNewPrivileges",
            Step::Scheduler(_) => "config.md, Linux Process, scheduler",
            Step::IoPriority { .. } => "config.md, Linux Process, ioPriority",
            Step::MemoryPolicy { .. } => "config-linux.md, Memory Policy",
            Step::Personality(_) => "config-linux.md, Personality",
            Step::CpuAffinity(_) => "config.md, Linux Process, execCPUAffinity",
            Step::Ready | Step::AwaitStart => "runtime.md, Lifecycle, create and start",
            Step::Environment => "runc: HOME from the container's /etc/passwd",
            Step::CloseDescriptors => "runtime-linux.md, File descriptors",
            Step::Seccomp => "config-linux.md, Seccomp",
            Step::Identity => "config.md, User; Linux Process, capabilities; Process, cwd",
            Step::NullStreams => "runc: standard streams on the null device are the container's own",
            Step::WorkingDirectory(_) => "runc: the working directory is made",
            Step::FindProgram | Step::Execute => "config.md, Process, args",
        }
    }
}
