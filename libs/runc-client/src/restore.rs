//! `restore`: the executor has criu make a container's processes again, as they were written down.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::runc::Runc;
use crate::stdio::ExecutorStdio;

/// Options of `restore`.
#[derive(Debug, Default)]
pub struct RestoreOptions {
    /// Directory of the images.
    pub image_path: PathBuf,
    /// Directory of criu's log and other files of its work.
    pub work_path: PathBuf,
    /// Where the pid of the init process is written.
    pub pid_file: PathBuf,
    /// Where the master of the terminal is sent; required if the spec asks for a terminal.
    pub console_socket: Option<PathBuf>,
    /// No use of pivot_root(2).
    pub no_pivot: bool,
    /// The container's standard streams, if it has no terminal.
    pub stdio: ExecutorStdio,
}

impl RestoreOptions {
    fn args(&self, id: &str, bundle: &Path) -> Vec<OsString> {
        let mut args: Vec<OsString> = vec!["restore".into(), "--detach".into(), "--no-subreaper".into()];
        let mut value = |flag: &str, path: &Path| args.extend([flag.into(), path.into()]);
        value("--bundle", bundle);
        value("--image-path", &self.image_path);
        value("--work-path", &self.work_path);
        value("--pid-file", &self.pid_file);
        if let Some(socket) = &self.console_socket {
            value("--console-socket", socket);
        }
        if self.no_pivot {
            args.push("--no-pivot".into());
        }
        args.push(id.into());
        args
    }
}

impl Runc {
    /// Makes the container again, and returns once it runs, detached.
    ///
    /// # Errors
    /// Whatever the executor and criu say; nothing of the container is left behind then.
    pub async fn restore(&self, id: &str, bundle: &Path, options: RestoreOptions) -> Result<()> {
        self.run_with_stdio(options.args(id, bundle), options.stdio, None, None).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_become_flags() {
        let mut options = RestoreOptions {
            image_path: "/images".into(),
            work_path: "/work".into(),
            pid_file: "/pid".into(),
            ..RestoreOptions::default()
        };
        let line = |options: &RestoreOptions| {
            options.args("box", Path::new("/b")).join(" ".as_ref()).into_string().unwrap()
        };
        let common = "restore --detach --no-subreaper --bundle /b --image-path /images --work-path /work --pid-file /pid";
        assert_eq!(line(&options), format!("{common} box"));
        options.console_socket = Some("/socket".into());
        options.no_pivot = true;
        assert_eq!(line(&options), format!("{common} --console-socket /socket --no-pivot box"));
    }
}
