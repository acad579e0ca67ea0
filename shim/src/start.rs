//! `start`: bind the socket, leave a server behind, print where it listens. Nothing may go to standard error,
//! which the daemon reads together with the answer.

use std::fs;
use std::io::{Read, stdin};
use std::os::unix::net::UnixListener;
use std::os::unix::process::{CommandExt, parent_id};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use errors::{Context, Error, Result};

use crate::args::Args;
use crate::bootstrap::{self, Params};
use crate::bundle::Bundle;
use crate::cgroup;
use crate::socket::{self, Bound};
use crate::spec::Spec;

/// No daemon sends more.
const INPUT_LIMIT: u64 = 10 << 20;

/// Does it all.
///
/// # Errors
/// Whatever fails; nothing is left behind then.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut step = marks::step("shim.launch.read")?;
    let mut input = Vec::new();
    stdin().lock().take(INPUT_LIMIT).read_to_end(&mut input).context(|| "read standard input")?;
    let max_version = std::env::var("MAX_SHIM_VERSION").ok();
    let params = bootstrap::decode(&input, args, max_version.as_deref())?;
    let bundle = working_bundle()?;
    let spec = Spec::read(bundle.path())?;
    let group = spec.group().unwrap_or(&args.id);
    let path = socket::path(params.socket_dir.as_deref(), &params.grpc_address, &args.namespace, group);
    let address = socket::address(&path);
    if let Some(dir) = &params.socket_dir {
        link_socket_dir(&bundle, dir)?;
    }
    step.next("shim.launch.bind")?;
    if let Bound::Fresh(listener) = socket::bind_group(&path)? {
        serve_in_background(listener, args, &params).inspect_err(|_| {
            // The error in hand says more than a failure to clean up.
            let _ = fs::remove_file(&path);
        })?;
    }
    marks::passed("shim.launch.spawned");
    bundle.write_address(&address)?;
    marks::passed("shim.launch.written");
    crate::print(&bootstrap::encode(params.shape, &address)?)
}

fn working_bundle() -> Result<Bundle> {
    std::env::current_dir().map(Bundle::new).context(|| "find the working directory")
}

fn serve_in_background(listener: UnixListener, args: &Args, params: &Params) -> Result<()> {
    if std::env::var_os("SCHED_CORE").is_some_and(|value| !value.is_empty()) {
        sys::sched_core::create_for_process_group().context(|| "enable core scheduling")?;
    }
    let mut command = server(args, params)?;
    sys::spawn_fds::pass_fds(&mut command, vec![listener.into()]).context(|| "hand over the socket")?;
    let mut child = command.spawn().context(|| "start the server")?;
    settle(&child, params).inspect_err(|_| {
        // It is a child of this short-lived process: whoever inherits it reaps it.
        let _ = child.kill();
        let _ = child.wait();
    })
}

fn server(args: &Args, params: &Params) -> Result<Command> {
    let myself = std::env::current_exe().context(|| "find this program")?;
    let mut command = Command::new(myself);
    command.args(["-namespace", &args.namespace, "-id", &args.id, "-address", &params.grpc_address]);
    if params.debug {
        command.arg("-debug");
    }
    if let Some(address) = &params.ttrpc_address {
        command.env("TTRPC_ADDRESS", address);
    }
    command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Ok(command)
}

/// Places the server: its cgroup, and a little ahead of the daemon when memory runs out.
fn settle(child: &Child, params: &Params) -> Result<()> {
    let cgroup = params.options.as_ref().map(|options| options.shim_cgroup.as_str()).unwrap_or_default();
    if !cgroup.is_empty() {
        cgroup::join(cgroup, child.id())?;
    }
    let parent = PathBuf::from(format!("/proc/{}/oom_score_adj", parent_id()));
    let score = fs::read_to_string(&parent).context(|| format!("read {}", parent.display()))?;
    let score: i32 = score
        .trim()
        .parse()
        .map_err(|_| Error::internal(format!("no number in {}: {score:?}", parent.display())))?;
    let own = format!("/proc/{}/oom_score_adj", child.id());
    let score = (score + 1).min(1000);
    match fs::write(&own, score.to_string()) {
        // Without CAP_SYS_RESOURCE the score may only rise: a higher one has been inherited.
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Ok(()),
        result => result.context(|| format!("write {score} to {own}")),
    }
}

/// `s` in the bundle leads to an unusual socket directory.
fn link_socket_dir(bundle: &Bundle, dir: &Path) -> Result<()> {
    let link = bundle.path().join("s");
    match fs::remove_file(&link) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).context(|| format!("remove {}", link.display()));
        }
        _ => {}
    }
    std::os::unix::fs::symlink(dir, &link).context(|| format!("link {} to {}", link.display(), dir.display()))
}
