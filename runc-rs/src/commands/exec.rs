//! `exec`: a further process in a container.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use oci::runtime::{LinuxCapabilities, Process as SpecProcess, Spec};

use super::create::{CONSOLE_SOCKET, PID_FILE, PIDFD_SOCKET, PRESERVE_FDS};
use crate::cgroup;
use crate::cli::{Arity, Flag, Global, Matches, Verb};
use crate::error::{Context, Error, Result};
use crate::log;
use crate::plan::process::{Caps, Process};
use crate::spec;
use crate::stage::create::seccomp_of;
use crate::stage::exec::{self, Request};
use crate::stage::foreground::Foreground;
use crate::stage::parent;
use crate::state::{Container, Status};

/// The verb.
pub const VERB: Verb = Verb {
    name: "exec",
    args: "<container-id> <command> [command options]  || -p process.json <container-id>",
    about: "execute new process inside the container",
    flags: &[
        CONSOLE_SOCKET,
        PIDFD_SOCKET,
        Flag::value("cwd", None, "value", "current working directory in the container"),
        Flag::value("env", Some("e"), "value", "set environment variables"),
        Flag::switch("tty", Some("t"), "allocate a pseudo-TTY"),
        Flag::value("user", Some("u"), "value", "UID (format: <uid>[:<gid>])"),
        Flag::value("additional-gids", Some("g"), "value", "additional gids")
            .that_fits(|text| text.parse::<i64>().is_ok()),
        Flag::value("process", Some("p"), "value", "path to the process.json"),
        Flag::switch("detach", Some("d"), "detach from the container's process"),
        PID_FILE,
        Flag::value(
            "process-label",
            None,
            "value",
            "set the asm process label for the process commonly used with selinux",
        ),
        Flag::value("apparmor", None, "value", "set the apparmor profile for the process"),
        Flag::switch("no-new-privs", None, "set the no new privileges value for the process"),
        Flag::value("cap", Some("c"), "value", "add a capability to the bounding set for the process"),
        PRESERVE_FDS,
        Flag::value(
            "cgroup",
            None,
            "value",
            "run the process in an (existing) sub-cgroup(s). Format is [<controller>:]<cgroup>",
        ),
        Flag::switch("ignore-paused", None, "allow exec in a paused container"),
    ],
    arity: Arity::Min(1),
    flags_stop: true,
    run,
};

fn run(global: &Global, matches: &Matches) -> Result<i32> {
    start(global, matches).context("exec failed")
}

fn start(global: &Global, matches: &Matches) -> Result<i32> {
    let preserve_fds = parent::preserve_fds(matches.number("preserve-fds")?.unwrap_or(0))?;
    let container = Container::load(&global.root, matches.id()?)?;
    check(&container, matches)?;
    crate::sealed::ensure()?;
    let spec = container.spec()?;
    let process = process(&spec, matches)?;
    let cgroup = cgroup(&container, matches)?;
    let detach = matches.flag("detach");
    let request = Request {
        console_socket: matches.value("console-socket").filter(|s| !s.is_empty()),
        pidfd_socket: matches.value("pidfd-socket").filter(|s| !s.is_empty()),
        pid_file: matches.value("pid-file").filter(|s| !s.is_empty()),
        detach,
        preserve_fds,
    };
    let foreground = (!detach).then(|| Foreground::new(false)).transpose()?;
    let started = exec::exec(&container, &process, seccomp_of(&spec), &*cgroup, &request)
        .context("unable to start container process")?;
    let Some(mut foreground) = foreground else { return Ok(0) };
    if let Some(master) = started.master {
        foreground.attach(master)?;
    }
    foreground.wait(started.pid)
}

fn check(container: &Container, matches: &Matches) -> Result<()> {
    match container.status()? {
        Status::Stopped => Err(Error::new("cannot exec in a stopped container")),
        Status::Paused if !matches.flag("ignore-paused") => {
            Err(Error::new("cannot exec in a paused container (use --ignore-paused to override)"))
        }
        _ => Ok(()),
    }
}

/// The process: from a file, or the container's own with what the flags change.
fn process(spec: &Spec, matches: &Matches) -> Result<Process> {
    if let Some(path) = matches.value("process").filter(|p| !p.is_empty()) {
        return Process::from_spec(&confined(spec::load_process(Path::new(path))?, spec));
    }
    let args = &matches.args()[1..];
    if args.is_empty() {
        return Err(Error::new("exec args cannot be empty"));
    }
    let own = spec.process().clone().ok_or_else(|| Error::new("process property must not be empty"))?;
    let mut process = Process::from_spec(&changed(own, args, matches)?)?;
    let mut unknown = Vec::new();
    for name in matches.values("cap") {
        match Caps::bit(name) {
            // Spelled as in config.json: what runc passes over gives nobody a right here.
            Ok(bit) if oci::capability::is_known(name) => {
                process.capabilities.get_or_insert_default().add(bit)
            }
            _ => unknown.push(name),
        }
    }
    if !unknown.is_empty() {
        log::warn(format!("ignoring unknown or unavailable capabilities: [{}]", unknown.join(" ")));
    }
    Ok(process)
}

/// A process file that says nothing of what confines it is confined as the container's own process is, as with runc.
fn confined(mut process: SpecProcess, spec: &Spec) -> SpecProcess {
    let Some(own) = spec.process() else { return process };
    if process.capabilities().is_none() {
        process.set_capabilities(own.capabilities().clone());
    }
    let silent = |word: &Option<String>| word.as_ref().is_none_or(String::is_empty);
    if silent(process.apparmor_profile()) {
        process.set_apparmor_profile(own.apparmor_profile().clone());
    }
    if silent(process.selinux_label()) {
        process.set_selinux_label(own.selinux_label().clone());
    }
    process
}

fn changed(mut process: SpecProcess, args: &[String], matches: &Matches) -> Result<SpecProcess> {
    process.set_args(Some(args.to_vec()));
    process.set_terminal(Some(matches.flag("tty")));
    if let Some(cwd) = matches.value("cwd").filter(|c| !c.is_empty()) {
        process.set_cwd(cwd.into());
    }
    if let Some(profile) = matches.value("apparmor") {
        process.set_apparmor_profile(Some(profile.to_owned()));
    }
    if let Some(label) = matches.value("process-label") {
        process.set_selinux_label(Some(label.to_owned()));
    }
    if matches.value("no-new-privs").is_some() {
        process.set_no_new_privileges(Some(matches.flag("no-new-privs")));
    }
    if matches.value("cap").is_some() && process.capabilities().is_none() {
        process.set_capabilities(Some(no_capabilities()));
    }
    let mut env = process.env().clone().unwrap_or_default();
    env.extend(matches.values("env").map(str::to_owned));
    process.set_env(Some(env));
    user(&mut process, matches)?;
    Ok(process)
}

fn no_capabilities() -> LinuxCapabilities {
    let mut caps = LinuxCapabilities::default();
    let none = std::collections::HashSet::new;
    caps.set_bounding(Some(none()))
        .set_effective(Some(none()))
        .set_inheritable(Some(none()))
        .set_permitted(Some(none()))
        .set_ambient(Some(none()));
    caps
}

fn user(process: &mut SpecProcess, matches: &Matches) -> Result<()> {
    let number = |text: &str, what: &str| {
        text.parse::<u32>()
            .map_err(|_| Error::new(format!("bad {what}: strconv.Atoi: parsing {text:?}: invalid syntax")))
    };
    let mut user = process.user().clone();
    if let Some(text) = matches.value("user").filter(|u| !u.is_empty()) {
        let (uid, gid) = text.split_once(':').map_or((text, None), |(uid, gid)| (uid, Some(gid)));
        user.set_uid(number(uid, "uid")?);
        if let Some(gid) = gid {
            user.set_gid(number(gid, "gid")?);
        }
    }
    let more: Vec<u32> = matches.values("additional-gids").map(additional_gid).collect::<Result<_>>()?;
    if !more.is_empty() {
        let mut all = user.additional_gids().clone().unwrap_or_default();
        all.extend(more);
        user.set_additional_gids(Some(all));
    }
    process.set_user(user);
    Ok(())
}

fn additional_gid(text: &str) -> Result<u32> {
    let wrong = || Error::new(format!("additional-gids must be a positive number {text}"));
    text.parse().map_err(|_| wrong())
}

/// What `--cgroup` says: for every controller, or for one by one; the way below the container's own cgroup.
fn parts<'a>(values: &[&'a str]) -> Result<BTreeMap<&'a str, &'a str>> {
    let invalid = |reason: String| Err(Error::new(reason));
    let mut parts = BTreeMap::new();
    for value in values {
        let Some((controllers, sub)) = value.split_once(':') else {
            if values.len() != 1 {
                return invalid(format!("invalid --cgroup argument: {value} (missing <controller>: prefix)"));
            }
            parts.insert("", *value);
            continue;
        };
        for controller in controllers.split(',') {
            if controller.is_empty() {
                return invalid(format!("invalid --cgroup argument: {value} (empty <controller> prefix)"));
            }
            if parts.insert(controller, sub).is_some() {
                return invalid(format!(
                    "invalid --cgroup argument(s): controller {controller} specified multiple times"
                ));
            }
        }
    }
    Ok(parts)
}

/// The way from the container's cgroup to one below it; one out of it is refused.
fn sub_cgroup(sub: &str) -> Result<PathBuf> {
    let mut below = PathBuf::new();
    for part in Path::new(sub).components() {
        let inside = match part {
            Component::Normal(name) => {
                below.push(name);
                true
            }
            Component::ParentDir => below.pop(),
            _ => true,
        };
        if !inside {
            return Err(Error::new(format!("{sub} is not a sub cgroup path")));
        }
    }
    Ok(below)
}

/// The container's cgroup, or one below it for the controllers that `--cgroup` names.
fn cgroup(container: &Container, matches: &Matches) -> Result<Box<dyn cgroup::Manager>> {
    let mut paths: BTreeMap<String, PathBuf> = container.state.cgroup_paths.clone();
    for (controller, sub) in parts(&matches.values("cgroup").collect::<Vec<_>>())? {
        let below = sub_cgroup(sub)?;
        if controller.is_empty() {
            paths.values_mut().for_each(|path| *path = path.join(&below));
            continue;
        }
        let unknown =
            || Error::new(format!("unknown controller {controller} in --cgroup {controller}:{sub}"));
        let path = paths.get_mut(controller).ok_or_else(unknown)?;
        *path = path.join(&below);
    }
    if matches.value("cgroup").is_some()
        && let Some(missing) = paths.values().find(|path| !path.is_dir())
    {
        return Err(Error::new(format!("cgroup {} does not exist", missing.display())));
    }
    Ok(cgroup::load(&paths, &container.state.config.cgroups)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sub_cgroups_by_controller() {
        assert_eq!(parts(&["a/b"]).unwrap(), BTreeMap::from([("", "a/b")]));
        assert_eq!(
            parts(&["pids,memory:x", "cpu:y"]).unwrap(),
            BTreeMap::from([("cpu", "y"), ("memory", "x"), ("pids", "x")])
        );
        for (values, want) in [
            (&[":x"][..], "invalid --cgroup argument: :x (empty <controller> prefix)"),
            (&["a", "b"], "invalid --cgroup argument: a (missing <controller>: prefix)"),
            (&["a:x", "b,a:y"], "invalid --cgroup argument(s): controller a specified multiple times"),
        ] {
            assert_eq!(parts(values).unwrap_err().to_string(), want);
        }
    }
}
