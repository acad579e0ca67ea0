//! What criu is asked for, beside the container: the flags of `checkpoint` and `restore` (criu_opts in criu's
//! images/rpc.proto, whose field numbers these are).

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use super::wire::Writer;
use crate::error::{Error, Result};

/// The network is not criu's to restore: it is made by whoever made the container's.
pub const EMPTY_NS: i64 = 0x4000_0000;
const LOG_LEVEL: i64 = 4;

/// How cgroups are dealt with (criu_cg_mode).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Cgroups {
    /// Not at all.
    Ignore = 0,
    /// They are restored if they are missing.
    Soft = 3,
    /// They are restored whether or not they are there.
    Full = 4,
    /// They are restored, and must be missing.
    Strict = 5,
    /// As criu likes.
    #[default]
    Default = 6,
}

impl Cgroups {
    /// Reads `--manage-cgroups-mode`.
    pub fn parse(text: &str) -> Result<Self> {
        match text {
            "" => Ok(Cgroups::Default),
            "soft" => Ok(Cgroups::Soft),
            "full" => Ok(Cgroups::Full),
            "strict" => Ok(Cgroups::Strict),
            "ignore" => Ok(Cgroups::Ignore),
            _ => Err(Error::new("Invalid manage-cgroups-mode value")),
        }
    }
}

/// Flags that both commands have, and those of either.
#[derive(Debug, Default)]
pub struct Options {
    /// Directory of the images.
    pub images: Option<OwnedFd>,
    /// Directory of the log.
    pub work: Option<OwnedFd>,
    /// `--tcp-established`.
    pub tcp_established: bool,
    /// `--ext-unix-sk`.
    pub ext_unix_sk: bool,
    /// `--shell-job`.
    pub shell_job: bool,
    /// `--file-locks`.
    pub file_locks: bool,
    /// `--manage-cgroups-mode`.
    pub cgroups: Cgroups,
    /// `--auto-dedup`.
    pub auto_dedup: bool,
    /// `--lazy-pages`.
    pub lazy_pages: bool,
    /// `--leave-running`.
    pub leave_running: bool,
    /// `--tcp-skip-in-flight`.
    pub tcp_skip_in_flight: bool,
    /// `--link-remap`.
    pub link_remap: bool,
    /// `--pre-dump`.
    pub pre_dump: bool,
    /// `--parent-path`; empty for none.
    pub parent: String,
    /// `--page-server`: address and port.
    pub page_server: Option<(String, u16)>,
    /// `--status-fd`.
    pub status_fd: Option<RawFd>,
    /// `--lsm-profile`; empty for none.
    pub lsm_profile: String,
    /// `--lsm-mount-context`; empty for none.
    pub lsm_mount_context: String,
    /// Annotation `org.criu.config`, or runc's default; empty for none.
    pub config_file: String,
}

impl Options {
    /// The fields that both requests have. criu opens our descriptors by way of /proc.
    pub fn common(&self, root: &str, log: &str) -> Writer {
        let mut all = Writer::default();
        all.number(1, self.images.as_ref().map_or(-1, |fd| fd.as_raw_fd().into()));
        if let Some(work) = &self.work {
            all.number(17, work.as_raw_fd().into());
        }
        all.switch(4, self.ext_unix_sk).switch(5, self.tcp_established).switch(7, self.shell_job);
        all.switch(8, self.file_locks).number(9, LOG_LEVEL).text(10, log);
        // Notices of its steps.
        all.switch(12, true).text(13, root);
        // The older of the two fields for cgroups has to be on for the newer to count.
        all.switch(16, self.auto_dedup).switch(24, true).number(34, self.cgroups as i64);
        all.number(38, EMPTY_NS).switch(48, self.lazy_pages).switch(50, true);
        all.text(51, &self.config_file);
        all
    }

    /// The fields of a dump alone.
    pub fn dump(&self, all: &mut Writer, pid: i32, freezer: &str) {
        all.number(2, pid.into()).switch(3, self.leave_running).switch(18, self.link_remap);
        all.switch(46, self.tcp_skip_in_flight).text(44, freezer);
        if !self.parent.is_empty() {
            all.text(14, &self.parent).switch(15, true);
        }
        if let Some((address, port)) = &self.page_server {
            let mut server = Writer::default();
            server.text(1, address).number(2, (*port).into());
            all.message(11, server);
        }
    }

    /// The fields of a restore alone: the process becomes our child, and devices may have other numbers.
    pub fn restore(&self, all: &mut Writer) {
        all.switch(6, true).switch(26, true);
        all.text(53, &self.lsm_profile).text(63, &self.lsm_mount_context);
    }
}

/// A mount that criu leaves to others: its place in the container, and what is mounted there.
pub fn external_mount(all: &mut Writer, key: &str, value: &str) {
    let mut map = Writer::default();
    map.text(1, key).text(2, value);
    all.message(23, map);
}

/// A descriptor of criu's that stands for something that is not in the images.
pub fn inherited(all: &mut Writer, key: &str, fd: RawFd) {
    let mut inherit = Writer::default();
    inherit.text(1, key).number(2, fd.into());
    all.message(27, inherit);
}

/// Where a hierarchy of cgroups begins for the container.
pub fn cgroup_root(all: &mut Writer, controllers: &str, path: &str) {
    let mut root = Writer::default();
    root.text(1, controllers).text(2, path);
    all.message(25, root);
}

/// A namespace that is there already.
pub fn joined(all: &mut Writer, kind: &str, path: &str) {
    let mut join = Writer::default();
    join.text(1, kind).text(2, path);
    all.message(39, join);
}

#[cfg(test)]
mod tests {
    use super::super::wire::{Value, read};
    use super::*;

    #[test]
    fn flags_have_their_fields() {
        let options = Options {
            tcp_established: true,
            leave_running: true,
            page_server: Some(("::1".into(), 80)),
            parent: "../p".into(),
            lsm_mount_context: "l".into(),
            ..Options::default()
        };
        let mut all = options.common("/root", "dump.log");
        options.dump(&mut all, 42, "/freezer");
        options.restore(&mut all);
        external_mount(&mut all, "/a", "/b");
        let bytes = all.bytes();
        let fields = read(&bytes).unwrap();
        let field = |number: u64| fields.iter().find(|(n, _)| *n == number).map(|(_, v)| *v);
        assert_eq!(field(5), Some(Value::Number(1)));
        assert_eq!((field(4), field(2)), (None, Some(Value::Number(42))));
        assert_eq!((field(14), field(15)), (Some(Value::Data(b"../p")), Some(Value::Number(1))));
        assert_eq!((field(34), field(63)), (Some(Value::Number(6)), Some(Value::Data(b"l"))));
        assert!(matches!((field(11), field(23)), (Some(Value::Data(_)), Some(Value::Data(_)))));
    }

    /// The numbers are those of criu's images/rpc.proto. A container's init leads its session, so that nothing but this shows what
    /// becomes of `--shell-job`.
    #[test]
    fn each_switch_is_one_field() {
        type Switch = fn(&mut Options) -> &mut bool;
        let on: [(u64, Switch); 9] = [
            (3, |o| &mut o.leave_running),
            (4, |o| &mut o.ext_unix_sk),
            (5, |o| &mut o.tcp_established),
            (7, |o| &mut o.shell_job),
            (8, |o| &mut o.file_locks),
            (16, |o| &mut o.auto_dedup),
            (18, |o| &mut o.link_remap),
            (46, |o| &mut o.tcp_skip_in_flight),
            (48, |o| &mut o.lazy_pages),
        ];
        let asked = |options: &Options| {
            let mut all = options.common("/root", "dump.log");
            options.dump(&mut all, 42, "/freezer");
            let bytes = all.bytes();
            read(&bytes)
                .unwrap()
                .iter()
                .map(|(field, value)| (*field, format!("{value:?}")))
                .collect::<Vec<_>>()
        };
        let none = asked(&Options::default());
        for (field, switch) in on {
            let mut options = Options::default();
            *switch(&mut options) = true;
            let more: Vec<_> = asked(&options).into_iter().filter(|one| !none.contains(one)).collect();
            assert_eq!(more, [(field, format!("{:?}", Value::Number(1)))]);
        }
    }

    #[test]
    fn modes() {
        assert_eq!(Cgroups::parse("strict").unwrap() as i64, 5);
        assert_eq!(Cgroups::parse("").unwrap() as i64, 6);
        assert_eq!(Cgroups::parse("odd").unwrap_err().to_string(), "Invalid manage-cgroups-mode value");
    }
}
