//! `delete`: clean up after a server that died, and print how the container ended as a `DeleteResponse`. What
//! can be done is done, whatever else fails; failures go to standard error as warnings.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use errors::{Context, Kind, Result, WithKind};
use proto_shim::task::v3::DeleteResponse;
use proto_shim::{Message, MessageField};

use crate::args::Args;
use crate::bundle::{self, Bundle};
use crate::reaper::Exit;
use crate::{clock, executor, mounts, serve, socket};

/// What is said of a container that was killed here: 128 and SIGKILL.
const KILLED: u32 = 137;

/// Does it all.
///
/// # Errors
/// Fails only if the bundle cannot be found or the answer not be given.
pub(crate) fn run(args: &Args) -> Result<()> {
    let bundle = bundle_of(args)?;
    let (options, runtime) = bundle.read_options().unwrap_or_else(|error| {
        crate::complain(&format!("warning: {}", error.chain()));
        Default::default()
    });
    let step = marks::begun("shim.clean.executor");
    let binary = runtime.unwrap_or_else(|| executor::choose(&options.binary_name));
    let runc = executor::runc(&binary, &options, &args.namespace, &bundle);
    // In the process group of this command, which the daemon ends as a whole when it takes too long.
    let runc = runc.limit(None);
    let deleting = async {
        let deleted = runc.delete(&args.id, true).await;
        match &deleted {
            // Killed half way, it has left the id taken.
            Err(error) if error.kind() != runc_client::Kind::NotFound => runc.delete(&args.id, true).await,
            _ => deleted,
        }
    };
    let deleted = serve::runtime()?.block_on(deleting);
    if let Err(error) = deleted
        && error.kind() != runc_client::Kind::NotFound
    {
        crate::complain(&format!("warning: {error}"));
    }
    drop(step);
    let step = marks::begun("shim.clean.unmount");
    if let Err(error) = mounts::unmount_below(&bundle.rootfs()) {
        crate::complain(&format!("warning: {}", error.chain()));
    }
    drop(step);
    remove_dead_socket(&bundle);
    marks::passed("shim.clean.done");
    let exit = bundle.read_exit().unwrap_or_else(|| Exit {
        pid: bundle::read_pid(&bundle.init_pid()).unwrap_or_default(),
        status: KILLED,
        at: SystemTime::now(),
    });
    let response = DeleteResponse {
        pid: exit.pid,
        exit_status: exit.status,
        exited_at: MessageField::some(clock::timestamp(exit.at)),
        ..DeleteResponse::default()
    };
    crate::print(&response.write_to_bytes().kind(Kind::Internal, || "encode the answer")?)
}

/// The bundle is named, or lies beside the working directory, which is a bundle of the same group.
fn bundle_of(args: &Args) -> Result<Bundle> {
    if let Some(path) = &args.bundle {
        return Ok(Bundle::new(path));
    }
    let here = std::env::current_dir().context(|| "find the working directory")?;
    let all: PathBuf = here.parent().unwrap_or(Path::new("/")).to_owned();
    Ok(Bundle::new(all.join(&args.id)))
}

/// A shim that was killed could not take its socket along. Another container's shim may still serve there.
fn remove_dead_socket(bundle: &Bundle) {
    let Some(address) = bundle.read_address() else { return };
    let Some(path) = address.strip_prefix("unix://").map(Path::new) else { return };
    if socket::connect(path).is_err() {
        // Usually it is gone.
        let _ = fs::remove_file(path);
    }
}
