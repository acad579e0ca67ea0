//! Writing a container down.

use std::path::{Path, PathBuf};

use super::options::Options;
use super::rpc::{Criu, Kind};
use super::wire::Writer;
use super::{check_feature, check_version, config_file, explain, external, open_directories};
use crate::error::{Context, Error, Result};
use crate::log;
use crate::plan::{self, Choices, Plan};
use crate::stage::{joined, notify};
use crate::state::Container;

const LOG: &str = "dump.log";
/// Where the standard streams led, for those that are pipes.
pub const DESCRIPTORS: &str = "descriptors.json";
/// From here on criu can freeze cgroups of version 2.
const FREEZES_VERSION_2: i64 = 31_400;

/// Where it is written.
#[derive(Debug, Clone)]
pub struct Place {
    /// The images.
    pub images: PathBuf,
    /// The log and other files of the work; beside the images if it is not given.
    pub work: Option<PathBuf>,
}

impl Place {
    /// The log of that name.
    pub fn log(&self, name: &str) -> PathBuf {
        self.work.as_ref().unwrap_or(&self.images).join(name)
    }
}

/// Writes the container's processes down, and ends them unless they are to go on.
pub fn checkpoint(container: &Container, options: &mut Options, place: &Place) -> Result<()> {
    let version = check_version(super::OLDEST)?;
    // Numbers of criu_features.
    if options.pre_dump {
        check_feature(1, "MemTrack")?;
    }
    if options.lazy_pages {
        check_feature(2, "LazyPages")?;
    }
    open_directories(options, &place.images, place.work.as_deref())?;
    options.config_file = config_file(&container.annotations());
    let plan = plan_of(container)?;
    let request = request(container, options, &plan, version)?;
    if !options.pre_dump {
        save_descriptors(container, &place.images)?;
    }
    let mut status = options.status_fd;
    let mut criu = Criu::start(Vec::new(), false)?;
    let kind = if options.pre_dump { Kind::PreDump } else { Kind::Dump };
    let asked = criu.ask(kind, request, &mut |script, _, _| {
        if script == "status-ready"
            && let Some(fd) = status.take()
        {
            tell(fd);
        }
        Ok(())
    });
    let ended = criu.end();
    asked.map_err(|e| explain(e, &place.log(LOG)))?;
    match ended? {
        // It waits for further dumps of a series, of which this is all, and does not like to be left.
        status if !status.success() && kind == Kind::Dump => {
            Err(Error::new(format!("criu failed: {}", crate::steps::hooks::describe(status))))
        }
        _ => Ok(()),
    }
}

/// The container as it was created.
fn plan_of(container: &Container) -> Result<Plan> {
    let mut spec = container.spec()?;
    joined::fill_in(&mut spec)?;
    if container.dir.join("notify").is_dir() {
        notify::set_up(&mut spec, &container.dir)?;
    }
    let choices = Choices::of_this_process();
    plan::create(&container.state.id, Path::new(container.bundle()), &spec, &choices)
}

fn request(container: &Container, options: &Options, plan: &Plan, version: i64) -> Result<Writer> {
    let pid = container.state.init_process_pid;
    let cgroup = container.cgroup()?;
    let paths = cgroup.paths();
    let unified = paths.get("").filter(|_| paths.len() == 1 && version >= FREEZES_VERSION_2);
    let freezer = paths.get("freezer").or(unified).map(|p| p.display().to_string()).unwrap_or_default();
    let mut all = options.common(&plan.rootfs.display().to_string(), LOG);
    options.dump(&mut all, pid, &freezer);
    external::namespaces_of_dump(&mut all, plan)?;
    if !options.pre_dump {
        external::of_dump(&mut all, plan, &*cgroup, pid)?;
    }
    let kind = if options.pre_dump { Kind::PreDump } else { Kind::Dump };
    let mut request = Writer::default();
    request.number(1, kind as i64).message(2, all);
    Ok(request)
}

fn save_descriptors(container: &Container, images: &Path) -> Result<()> {
    let path = images.join(DESCRIPTORS);
    let text =
        serde_json::to_vec(&container.state.external_descriptors).map_err(|e| Error::new(e.to_string()))?;
    std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))
}

/// A byte says that pages can be fetched.
fn tell(fd: i32) {
    let told = sys::spawn_fds::inherited_fd(fd).map_err(Error::from);
    if let Err(e) = told.and_then(|fd| Ok(rustix::io::write(fd, &[0])?)) {
        log::warn(format!("can't write \\0 to status fd: {e}"));
    }
}
