//! `checkpoint`: the executor has criu write the container's processes down.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::error::Result;
use crate::runc::Runc;

/// Options of `checkpoint`.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct CheckpointOptions {
    /// Directory of the images.
    pub image_path: PathBuf,
    /// Directory of criu's log and other files of its work.
    pub work_path: PathBuf,
    /// The container goes on; otherwise it ends, and the executor forgets it.
    pub leave_running: bool,
    /// Open TCP connections are written down too.
    pub tcp_established: bool,
    /// Sockets of the UNIX domain may lead out of the container.
    pub ext_unix_sk: bool,
    /// The processes may belong to a terminal that is not the container's.
    pub shell_job: bool,
    /// File locks are written down too.
    pub file_locks: bool,
    /// Kinds of namespaces whose properties are left out.
    pub empty_namespaces: Vec<String>,
    /// `--manage-cgroups-mode`; empty for the executor's choice.
    pub cgroups_mode: String,
    /// Directory of an earlier checkpoint's images, seen from that of these; empty for none.
    pub parent_path: String,
}

impl CheckpointOptions {
    fn args(self, id: &str) -> Vec<OsString> {
        let mut args: Vec<OsString> = vec!["checkpoint".into()];
        let mut value = |flag: &str, value: OsString| {
            if !value.is_empty() {
                args.extend([flag.into(), value]);
            }
        };
        value("--image-path", self.image_path.into());
        value("--work-path", self.work_path.into());
        value("--parent-path", self.parent_path.into());
        value("--manage-cgroups-mode", self.cgroups_mode.into());
        for kind in self.empty_namespaces {
            value("--empty-ns", kind.into());
        }
        let switches = [
            ("--leave-running", self.leave_running),
            ("--tcp-established", self.tcp_established),
            ("--ext-unix-sk", self.ext_unix_sk),
            ("--shell-job", self.shell_job),
            ("--file-locks", self.file_locks),
        ];
        args.extend(switches.iter().filter(|(_, on)| *on).map(|(flag, _)| (*flag).into()));
        args.push(id.into());
        args
    }
}

impl Runc {
    /// Writes the container's processes down.
    ///
    /// # Errors
    /// Whatever the executor and criu say; the container goes on then.
    pub async fn checkpoint(&self, id: &str, options: CheckpointOptions) -> Result<()> {
        self.run(options.args(id)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_become_flags() {
        let some = CheckpointOptions {
            image_path: "/images".into(),
            leave_running: true,
            file_locks: true,
            empty_namespaces: vec!["network".into()],
            ..CheckpointOptions::default()
        };
        let line = some.args("box").join(" ".as_ref());
        assert_eq!(
            line,
            "checkpoint --image-path /images --empty-ns network --leave-running --file-locks box"
        );
        let all = CheckpointOptions {
            work_path: "/work".into(),
            parent_path: "../first".into(),
            cgroups_mode: "soft".into(),
            tcp_established: true,
            ext_unix_sk: true,
            shell_job: true,
            ..CheckpointOptions::default()
        };
        let line = all.args("box").join(" ".as_ref()).into_string().unwrap();
        assert_eq!(
            line,
            "checkpoint --work-path /work --parent-path ../first --manage-cgroups-mode soft --tcp-established --ext-unix-sk --shell-job box"
        );
    }
}
