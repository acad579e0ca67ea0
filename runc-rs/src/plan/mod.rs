//! From config.json to a list of steps. Nothing here touches the system: what is decided here can be printed and tested
//! without any rights, and what is done later ([`crate::steps`]) decides nothing.

mod delegation;
pub mod devices;
pub mod mounts;
pub mod namespaces;
pub mod net_devices;
pub mod options;
pub mod process;
pub mod resctrl;
mod show;
pub mod step;
pub mod support;
pub mod sysctl;

use std::path::{Path, PathBuf};

use oci::runtime::{LinuxResources, Spec};

use crate::error::{Error, Result};
use devices::Device;
use mounts::{IdMap, Mount};
use namespaces::{Kind, Namespaces};
use net_devices::NetDevice;
use options::Propagation;
use process::Process;
use resctrl::Resctrl;
pub use step::{Enter, Step};

/// What the command line adds to config.json.
#[derive(Debug, Clone, Default)]
pub struct Choices {
    /// `--no-pivot`.
    pub no_pivot: bool,
    /// `--no-new-keyring`.
    pub no_new_keyring: bool,
    /// The `net` namespace to join is the runtime's own.
    pub host_net: bool,
    /// Whether `start` comes as a command of its own (`create`) or at once (`run`).
    pub await_start: bool,
    /// This process has no privileges over the host: it is not root.
    pub rootless: bool,
    /// This process is in a user namespace, where nobody can make device nodes.
    pub in_user_namespace: bool,
}

impl Choices {
    /// Those that this process's own rights make, whatever the command line says.
    pub fn of_this_process() -> Self {
        Choices {
            rootless: !nix::unistd::geteuid().is_root(),
            in_user_namespace: crate::process::in_user_namespace(),
            ..Choices::default()
        }
    }
}

/// A container to be made.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Its id.
    pub id: String,
    /// Absolute path of the bundle.
    pub bundle: PathBuf,
    /// Absolute path of the root file system on the host.
    pub rootfs: PathBuf,
    /// Its namespaces.
    pub namespaces: Namespaces,
    /// Mappings of a new user namespace.
    pub uid_maps: Vec<IdMap>,
    /// Mappings of a new user namespace.
    pub gid_maps: Vec<IdMap>,
    /// Lines of /proc/self/timens_offsets for a new time namespace.
    pub time_offsets: String,
    /// `linux.cgroupsPath`.
    pub cgroups_path: Option<PathBuf>,
    /// `linux.resources`.
    pub resources: Option<LinuxResources>,
    /// Network interfaces that move in.
    pub net_devices: Vec<NetDevice>,
    /// `linux.intelRdt`.
    pub resctrl: Option<Resctrl>,
    /// `linux.mountLabel`; empty for none.
    pub mount_label: String,
    /// The program.
    pub process: Process,
    /// What init does, in order.
    pub steps: Vec<Step>,
}

/// Makes the plan for `create` and `run`.
pub fn create(id: &str, bundle: &Path, spec: &Spec, choices: &Choices) -> Result<Plan> {
    support::check(spec)?;
    let namespaces = Namespaces::from_spec(spec)?;
    let linux = spec.linux().clone().unwrap_or_default();
    let process = spec.process().as_ref().ok_or_else(|| Error::new("process property must not be empty"))?;
    let rootfs = spec.root().as_ref().ok_or_else(|| Error::new("root must be specified"))?.path().clone();
    let uid_maps = IdMap::all(linux.uid_mappings().as_ref());
    let gid_maps = IdMap::all(linux.gid_mappings().as_ref());
    check_user(&namespaces, &uid_maps, &gid_maps)?;
    support::check_rootless(choices, &namespaces, spec)?;
    let process = Process::from_spec(process)?;
    let steps = Builder { spec, bundle, namespaces: &namespaces, process: &process, choices }.steps()?;
    Ok(Plan {
        id: id.to_owned(),
        bundle: bundle.to_owned(),
        rootfs: bundle.join(rootfs),
        uid_maps,
        gid_maps,
        time_offsets: time_offsets(spec, &namespaces)?,
        cgroups_path: spec.linux().as_ref().and_then(|l| l.cgroups_path().clone()),
        resources: spec.linux().as_ref().and_then(|l| l.resources().clone()),
        net_devices: net_devices::from_spec(spec, &namespaces, choices.rootless)?,
        resctrl: resctrl::from_spec(spec, id)?,
        mount_label: linux.mount_label().clone().unwrap_or_default(),
        process,
        steps,
        namespaces,
    })
}

/// What an exec'd process does once it has joined the container.
pub fn exec(process: &Process, no_new_keyring: bool, seccomp: bool) -> Vec<Step> {
    let mut steps = Vec::new();
    if let Some(list) = &process.cpu_affinity.1 {
        steps.push(Step::CpuAffinity(list.clone()));
    }
    if !no_new_keyring {
        steps.push(Step::Keyring);
    }
    if process.terminal {
        steps.push(Step::Console { mount: false });
    }
    restrictions(process, &mut steps);
    steps.push(Step::Ready);
    identity(process, seccomp, &mut steps);
    steps.push(Step::Execute);
    steps
}

fn check_user(namespaces: &Namespaces, uids: &[IdMap], gids: &[IdMap]) -> Result<()> {
    let mapped = !uids.is_empty() || !gids.is_empty();
    if !namespaces.has(Kind::User) && mapped {
        let text = "user namespace mappings specified, but user namespace isn't enabled in the config";
        return Err(Error::new(text));
    }
    if namespaces.is_new(Kind::User) && (uids.is_empty() || gids.is_empty()) {
        return Err(Error::new("user namespaces enabled, but no user and/or group mappings found"));
    }
    Ok(())
}

fn time_offsets(spec: &Spec, namespaces: &Namespaces) -> Result<String> {
    let offsets = spec.linux().as_ref().and_then(|l| l.time_offsets().clone()).unwrap_or_default();
    if !offsets.is_empty() && !namespaces.is_new(Kind::Time) {
        return Err(Error::new(
            "time namespace offsets specified, but time namespace isn't enabled in the config",
        ));
    }
    let mut lines = Vec::new();
    for (clock, offset) in &offsets {
        if !matches!(clock.as_str(), "monotonic" | "boottime") {
            return Err(Error::new(format!("unknown clock {clock:?} in linux.timeOffsets")));
        }
        lines.push(format!("{clock} {} {}\n", offset.secs().unwrap_or(0), offset.nanosecs().unwrap_or(0)));
    }
    lines.sort();
    Ok(lines.concat())
}

/// Puts the steps of `create` in order.
struct Builder<'a> {
    spec: &'a Spec,
    bundle: &'a Path,
    namespaces: &'a Namespaces,
    process: &'a Process,
    choices: &'a Choices,
}

impl Builder<'_> {
    fn steps(&self) -> Result<Vec<Step>> {
        let mut steps = Vec::new();
        if !self.choices.no_new_keyring {
            steps.push(Step::Keyring);
        }
        if self.namespaces.is_new(Kind::Net) {
            steps.push(Step::Loopback);
        }
        let mounts = mounts::from_spec(self.spec, self.bundle)?;
        self.root(&mounts, &mut steps)?;
        self.identity_of_host(&mut steps)?;
        self.restrict_paths(&mut steps)?;
        restrictions(self.process, &mut steps);
        self.host_policies(&mut steps)?;
        steps.push(Step::Ready);
        let seccomp = self.spec.linux().as_ref().is_some_and(|l| l.seccomp().is_some());
        identity(self.process, seccomp, &mut steps);
        if self.choices.await_start {
            steps.push(Step::AwaitStart);
        }
        if self.hooks(|h| h.start_container()) {
            steps.push(Step::StartContainerHooks);
        }
        steps.push(Step::Execute);
        Ok(steps)
    }

    fn hooks<F>(&self, of: F) -> bool
    where
        F: Fn(&oci::runtime::Hooks) -> &Option<Vec<oci::runtime::Hook>>,
    {
        self.spec.hooks().as_ref().is_some_and(|h| of(h).as_ref().is_some_and(|list| !list.is_empty()))
    }

    /// Whether init has to stand still while its limits are set: hooks have their order, and a limit of memory is set to what is in use by then.
    fn needs_limits_first(&self) -> bool {
        let resources = self.spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
        resources.is_some_and(|resources| resources.memory().is_some())
            || self.hooks(|h| h.prestart())
            || self.hooks(|h| h.create_runtime())
            || self.hooks(|h| h.create_container())
    }

    /// The root file system, up to the moment when init stands in it.
    fn root(&self, mounts: &[Mount], steps: &mut Vec<Step>) -> Result<()> {
        let private = self.namespaces.has(Kind::Mount);
        if private {
            let before = self.root_propagation()?.unwrap_or(Propagation { flag: 1 << 19, recursive: true });
            steps.push(Step::BindRoot { propagation: before });
            steps.extend(mounts.iter().cloned().map(|m| Step::Mount(Box::new(m))));
            if mounts::fills_dev(mounts) {
                self.dev(steps)?;
            }
        } else if !mounts.is_empty() {
            return Err(Error::new("mounts need a mount namespace of the container's own"));
        }
        let fills_dev = private && mounts::fills_dev(mounts);
        // In a namespace that others have, too, nothing is changed before all that may fail has been done.
        let alone = fills_dev && self.namespaces.is_new(Kind::Mount);
        steps.push(Step::RuntimeHooks { wait: !alone || self.needs_limits_first() });
        if self.hooks(|h| h.create_container()) {
            steps.push(Step::CreateContainerHooks);
        }
        steps.push(Step::EnterRoot(match (private, self.choices.no_pivot) {
            (true, false) => Enter::Pivot,
            (true, true) => Enter::Move,
            (false, _) => Enter::Chroot,
        }));
        if fills_dev {
            steps.push(Step::NullStreams);
        }
        steps.push(Step::WorkingDirectory(self.process.cwd.clone()));
        if self.process.terminal {
            steps.push(Step::Console { mount: private });
        }
        if private {
            self.finish_root(mounts, steps)?;
        }
        Ok(())
    }

    fn dev(&self, steps: &mut Vec<Step>) -> Result<()> {
        let bound = self.namespaces.has(Kind::User) || self.choices.in_user_namespace;
        let step = |d: Device| if bound { Step::BindDevice(d) } else { Step::Device(d) };
        steps.extend(devices::from_spec(self.spec)?.into_iter().map(step));
        for (target, path) in devices::LINKS {
            steps.push(Step::Symlink { target: (*target).into(), path: path.into() });
        }
        Ok(())
    }

    fn finish_root(&self, mounts: &[Mount], steps: &mut Vec<Step>) -> Result<()> {
        if let Some(propagation) = self.root_propagation()? {
            steps.push(Step::RootPropagation(propagation));
        }
        for mount in mounts.iter().filter(|m| m.late_readonly) {
            steps.push(Step::ReadonlyMount(mount.destination.clone()));
        }
        if self.spec.root().as_ref().and_then(|r| r.readonly()).unwrap_or(false) {
            steps.push(Step::ReadonlyMount("/".into()));
        }
        Ok(())
    }

    fn root_propagation(&self) -> Result<Option<Propagation>> {
        let word =
            self.spec.linux().as_ref().and_then(|l| l.rootfs_propagation().clone()).unwrap_or_default();
        if word.is_empty() {
            return Ok(None);
        }
        let found = options::root_propagation(&word);
        found.map(Some).ok_or_else(|| Error::new(format!("rootfsPropagation={word} is not supported")))
    }

    fn identity_of_host(&self, steps: &mut Vec<Step>) -> Result<()> {
        let own = self.namespaces.has(Kind::Uts);
        let named = |name: &Option<String>| name.clone().filter(|n| !n.is_empty());
        if let Some(name) = named(self.spec.hostname()) {
            if !own {
                return Err(Error::new("unable to set hostname without a private UTS namespace"));
            }
            steps.push(Step::Hostname(name));
        }
        if let Some(name) = named(self.spec.domainname()) {
            if !own {
                return Err(Error::new("unable to set domainname without a private UTS namespace"));
            }
            steps.push(Step::Domainname(name));
        }
        Ok(())
    }

    fn restrict_paths(&self, steps: &mut Vec<Step>) -> Result<()> {
        let Some(linux) = self.spec.linux() else { return Ok(()) };
        let mut sysctls: Vec<_> = linux.sysctl().iter().flatten().collect();
        sysctls.sort();
        for (key, value) in sysctls {
            sysctl::check(key, self.namespaces, self.choices.host_net)?;
            steps.push(Step::Sysctl { path: sysctl::path(key), value: value.clone() });
        }
        let readonly = linux.readonly_paths().as_deref().unwrap_or_default();
        let masked = linux.masked_paths().as_deref().unwrap_or_default();
        let asked = !readonly.is_empty() || !masked.is_empty();
        if asked && !self.namespaces.has(Kind::Mount) {
            return Err(Error::new("unable to restrict sys entries without a private MNT namespace"));
        }
        steps.extend(readonly.iter().map(|p| Step::ReadonlyPath(p.into())));
        if !masked.is_empty() {
            let paths = masked.iter().map(PathBuf::from).collect();
            let label = linux.mount_label().clone().unwrap_or_default();
            steps.push(Step::MaskedPaths { paths, label });
        }
        Ok(())
    }

    fn host_policies(&self, steps: &mut Vec<Step>) -> Result<()> {
        let Some(linux) = self.spec.linux() else { return Ok(()) };
        if let Some(policy) = linux.memory_policy() {
            steps.push(support::memory_policy(policy)?);
        }
        if let Some(personality) = linux.personality() {
            steps.push(support::personality(personality));
        }
        Ok(())
    }
}

/// What limits the process, whatever its user.
fn restrictions(process: &Process, steps: &mut Vec<Step>) {
    if !process.apparmor.is_empty() {
        steps.push(Step::Apparmor(process.apparmor.clone()));
    }
    if !process.selinux.is_empty() {
        steps.push(Step::Selinux(process.selinux.clone()));
    }
    if process.no_new_privileges {
        steps.push(Step::NoNewPrivileges);
    }
    if let Some(attr) = process.scheduler {
        steps.push(Step::Scheduler(attr));
    }
    if let Some((class, level)) = process.io_priority {
        steps.push(Step::IoPriority { class, level });
    }
}

/// From root to the process's own user. The filter is loaded before, where dropping capabilities would take away the
/// right to load it, and after, where `noNewPrivileges` gives that right for good (seccomp(2)).
fn identity(process: &Process, seccomp: bool, steps: &mut Vec<Step>) {
    steps.push(Step::Environment);
    steps.push(Step::CloseDescriptors);
    if seccomp && !process.no_new_privileges {
        steps.push(Step::Seccomp);
    }
    steps.push(Step::Identity);
    steps.push(Step::FindProgram);
    if seccomp && process.no_new_privileges {
        steps.push(Step::Seccomp);
    }
}

#[cfg(test)]
mod tests;
