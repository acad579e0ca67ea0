//! `checkpoint`: a running container, written down by criu.

use std::path::Path;

use super::delete;
use crate::cli::{Arity, Flag, Global, Matches, Verb};
use crate::criu::checkpoint::{Place, checkpoint};
use crate::criu::options::{Cgroups, Options};
use crate::error::{Error, Result};
use crate::log;
use crate::root::clean;
use crate::state::{Container, Status};

/// The flags that `checkpoint` and `restore` share.
pub const WORK_PATH: Flag = Flag::value("work-path", None, "value", "path for saving work files and logs");
/// See [`WORK_PATH`].
pub const TCP_ESTABLISHED: Flag = Flag::switch("tcp-established", None, "allow open tcp connections");
/// See [`WORK_PATH`].
pub const EXT_UNIX_SK: Flag = Flag::switch("ext-unix-sk", None, "allow external unix sockets");
/// See [`WORK_PATH`].
pub const SHELL_JOB: Flag = Flag::switch("shell-job", None, "allow shell jobs");
/// See [`WORK_PATH`].
pub const FILE_LOCKS: Flag = Flag::switch("file-locks", None, "handle file locks, for safety");
/// See [`WORK_PATH`].
pub const CGROUPS_MODE: Flag = Flag::value(
    "manage-cgroups-mode",
    None,
    "value",
    "cgroups mode: soft|full|strict|ignore (default: soft)",
);
/// See [`WORK_PATH`].
pub const EMPTY_NS: Flag =
    Flag::value("empty-ns", None, "value", "create a namespace, but don't restore its properties");
/// See [`WORK_PATH`].
pub const AUTO_DEDUP: Flag = Flag::switch("auto-dedup", None, "enable auto deduplication of memory images");
/// See [`WORK_PATH`].
pub const LAZY_PAGES: Flag =
    Flag::switch("lazy-pages", None, "use userfaultfd to lazily restore memory pages");

/// The verb.
pub const VERB: Verb = Verb {
    name: "checkpoint",
    args: "<container-id>",
    about: "checkpoint a running container",
    flags: &[
        Flag::value("image-path", None, "value", "path for saving criu image files"),
        WORK_PATH,
        Flag::value("parent-path", None, "value", "path for previous criu image files in pre-dump"),
        Flag::switch("leave-running", None, "leave the process running after checkpointing"),
        TCP_ESTABLISHED,
        Flag::switch("tcp-skip-in-flight", None, "skip in-flight tcp connections"),
        Flag::switch("link-remap", None, "remap one link to unlinked files to dump them"),
        EXT_UNIX_SK,
        SHELL_JOB,
        LAZY_PAGES,
        Flag::number("status-fd", "criu writes \\0 to this FD once lazy-pages is ready"),
        Flag::value("page-server", None, "value", "ADDRESS:PORT of the page server"),
        FILE_LOCKS,
        Flag::switch(
            "pre-dump",
            None,
            "dump container's memory information only, leave the container running after this",
        ),
        CGROUPS_MODE,
        EMPTY_NS,
        AUTO_DEDUP,
    ],
    arity: Arity::Exact(1),
    flags_stop: false,
    run,
};

fn run(global: &Global, matches: &Matches) -> Result<i32> {
    if !nix::unistd::geteuid().is_root() || crate::process::in_user_namespace() {
        log::warn("runc checkpoint is untested with rootless containers");
    }
    let container = Container::load(&global.root, matches.id()?)?;
    let status = container.status()?;
    if matches!(status, Status::Created | Status::Stopped) {
        let status = status.as_str();
        return Err(Error::new(format!("Container cannot be checkpointed in {status} state")));
    }
    let (mut options, place) = options(matches)?;
    checkpoint(&container, &mut options, &place)?;
    if !options.leave_running && !options.pre_dump {
        delete::destroy(&container)?;
    }
    Ok(0)
}

/// What the flags say; `restore` has some of them.
pub fn options(matches: &Matches) -> Result<(Options, Place)> {
    let place = place(matches)?;
    let parent = matches.value("parent-path").unwrap_or_default().to_owned();
    check_parent(&place.images, &parent)?;
    if let Some(kind) = matches.values("empty-ns").find(|kind| *kind != "network") {
        return Err(Error::new(format!("namespace {kind:?} is not supported")));
    }
    let text = |name: &str| matches.value(name).unwrap_or_default().to_owned();
    let options = Options {
        tcp_established: matches.flag("tcp-established"),
        ext_unix_sk: matches.flag("ext-unix-sk"),
        shell_job: matches.flag("shell-job"),
        file_locks: matches.flag("file-locks"),
        cgroups: Cgroups::parse(matches.value("manage-cgroups-mode").unwrap_or_default())?,
        auto_dedup: matches.flag("auto-dedup"),
        lazy_pages: matches.flag("lazy-pages"),
        leave_running: matches.flag("leave-running"),
        tcp_skip_in_flight: matches.flag("tcp-skip-in-flight"),
        link_remap: matches.flag("link-remap"),
        pre_dump: matches.flag("pre-dump"),
        parent,
        page_server: page_server(matches.value("page-server").unwrap_or_default())?,
        status_fd: status_fd(matches)?,
        lsm_profile: text("lsm-profile"),
        lsm_mount_context: text("lsm-mount-context"),
        ..Options::default()
    };
    Ok((options, place))
}

fn place(matches: &Matches) -> Result<Place> {
    let absolute =
        |path: &str| std::path::absolute(path).map_err(|e| Error::call(format_args!("resolve {path}"), e));
    let given = |name: &str| matches.value(name).filter(|path| !path.is_empty());
    let images = absolute(given("image-path").unwrap_or("checkpoint"))?;
    Ok(Place { images, work: given("work-path").map(absolute).transpose()? })
}

fn check_parent(images: &Path, parent: &str) -> Result<()> {
    if Path::new(parent).is_absolute() {
        return Err(Error::new("--parent-path must be relative"));
    }
    // By its text, as runc takes it: the images' own directory need not be there yet.
    let path = clean(&images.join(parent));
    if !parent.is_empty() && !path.is_dir() {
        return Err(Error::new(format!("invalid --parent-path: {} is not a directory", path.display())));
    }
    Ok(())
}

fn page_server(text: &str) -> Result<Option<(String, u16)>> {
    if text.is_empty() {
        return Ok(None);
    }
    let usage = || Error::new("Use --page-server ADDRESS:PORT to specify page server");
    let (address, port) = text.rsplit_once(':').ok_or_else(usage)?;
    let address = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
    if address.is_empty() || port.is_empty() {
        return Err(usage());
    }
    let port = port.parse().map_err(|_| Error::new("Invalid port number"))?;
    Ok(Some((address.to_owned(), port)))
}

fn status_fd(matches: &Matches) -> Result<Option<i32>> {
    let Some(fd) = matches.number::<i32>("status-fd")?.filter(|fd| *fd >= 0) else { return Ok(None) };
    if !sys::fd::is_open(fd) {
        return Err(Error::new(format!("invalid --status-fd argument {fd}: bad file descriptor")));
    }
    Ok(Some(fd))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_is_beside_the_images() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("first")).unwrap();
        let images = dir.path().join("second");
        check_parent(&images, "../first").unwrap();
        check_parent(&images, "").unwrap();
        let text = check_parent(&images, "../third").unwrap_err().to_string();
        assert!(text.starts_with("invalid --parent-path: ") && text.contains("/third"), "{text}");
    }

    #[test]
    fn page_servers() {
        assert_eq!(page_server("").unwrap(), None);
        assert_eq!(page_server("h:80").unwrap(), Some(("h".into(), 80)));
        assert_eq!(page_server("[::1]:80").unwrap(), Some(("::1".into(), 80)));
        assert!(page_server("h").unwrap_err().to_string().contains("ADDRESS:PORT"));
        assert_eq!(page_server("h:x").unwrap_err().to_string(), "Invalid port number");
    }
}
