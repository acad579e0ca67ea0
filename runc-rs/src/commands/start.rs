//! `start`: lets the init of a created container go.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

use nix::fcntl::OFlag;
use rustix::io::Errno;

use crate::cli::{Arity, Global, Matches, Verb};
use crate::error::{Error, Result};
use crate::stage::create;
use crate::stage::notify::Notify;
use crate::state::{Container, FIFO, Status};

/// The verb.
pub const VERB: Verb = Verb {
    name: "start",
    args: "<container-id>",
    about: "executes the user defined process in a created container",
    flags: &[],
    arity: Arity::Exact(1),
    flags_stop: false,
    run,
};

fn run(global: &Global, matches: &Matches) -> Result<i32> {
    let container = Container::load(&global.root, matches.id()?)?;
    let notify = {
        let _step = marks::step("runc-rs.start.lock")?;
        let _lock = container.lock()?;
        match container.status()? {
            Status::Created => {
                let notify = Notify::open(&container.dir)?;
                release(&container)?;
                notify
            }
            Status::Stopped => return Err(Error::new("cannot start a container that has stopped")),
            Status::Running => return Err(Error::new("cannot start an already running container")),
            Status::Paused => return Err(Error::new("cannot start a container in the paused state")),
        }
    };
    // Outside of the lock: a hook may call this program.
    create::started(&container, &container.spec()?)?;
    if let Some(notify) = notify {
        notify.relay(container.state.init_process_pid)?;
    }
    Ok(0)
}

/// Writes what init waits for. With no reader there is no init (fifo(7): ENXIO).
fn release(container: &Container) -> Result<()> {
    let path = container.dir.join(FIFO);
    let fails = |e: std::io::Error| match e.raw_os_error() {
        Some(number) if number == Errno::NXIO.raw_os_error() => {
            Error::new("cannot start a container that has stopped")
        }
        _ => Error::call(format_args!("open {}", path.display()), e),
    };
    let mut fifo =
        OpenOptions::new().write(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(&path).map_err(fails)?;
    std::fs::remove_file(&path).map_err(fails)?;
    marks::passed("runc-rs.start.taken");
    fifo.write_all(b"0").map_err(fails)?;
    marks::passed("runc-rs.start.released");
    Ok(())
}
