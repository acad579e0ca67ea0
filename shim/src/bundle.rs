//! The files in a bundle, laid out as containerd's own shim lays them out: each side can clean up after the
//! other.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use errors::{Context, Kind, Result, WithKind};
use serde::{Deserialize, Serialize};

use crate::clock;
use crate::options::Options;
use crate::reaper::Exit;

/// A bundle's directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bundle(PathBuf);

/// exit.json, in the names of go-runc's Exit.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ExitRecord {
    timestamp: String,
    pid: u32,
    status: u32,
}

impl Bundle {
    pub(crate) fn new(path: impl Into<PathBuf>) -> Bundle {
        Bundle(path.into())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Where the root filesystem is mounted.
    pub(crate) fn rootfs(&self) -> PathBuf {
        self.0.join("rootfs")
    }

    /// The pid of init, written by the executor.
    pub(crate) fn init_pid(&self) -> PathBuf {
        self.0.join("init.pid")
    }

    /// The pid of an exec process, written by the executor. Its id may be "init".
    pub(crate) fn exec_pid(&self, exec: &str) -> PathBuf {
        self.0.join(format!("exec-{exec}.pid"))
    }

    /// The executor's own log.
    pub(crate) fn executor_log(&self) -> PathBuf {
        self.0.join("log.json")
    }

    /// Keeps what `delete` will need to call the executor alike: the options, and the executor's name or
    /// path.
    ///
    /// # Errors
    /// Whatever the filesystem says.
    pub(crate) fn write_options(&self, options: &Options, executor: &Path) -> Result<()> {
        let json = serde_json::to_vec(options).kind(Kind::Internal, || "encode options.json")?;
        self.write("options.json", &json)?;
        self.write("runtime", executor.as_os_str().as_encoded_bytes())
    }

    /// What [`write_options`](Bundle::write_options) kept; defaults for what was not kept.
    ///
    /// # Errors
    /// Fails if options.json is there and is not to be understood.
    pub(crate) fn read_options(&self) -> Result<(Options, Option<PathBuf>)> {
        let options = match self.read("options.json")? {
            Some(json) => serde_json::from_slice(&json)
                .kind(Kind::DataLoss, || format!("parse {}", self.0.join("options.json").display()))?,
            None => Options::default(),
        };
        let runtime = self.read("runtime")?.and_then(|text| String::from_utf8(text).ok());
        Ok((options, runtime.filter(|text| !text.is_empty()).map(PathBuf::from)))
    }

    /// Keeps how init ended, so that it survives the shim.
    ///
    /// # Errors
    /// Whatever the filesystem says.
    pub(crate) fn write_exit(&self, exit: &Exit) -> Result<()> {
        let record = ExitRecord { timestamp: clock::text(exit.at), pid: exit.pid, status: exit.status };
        self.write("exit.json", &serde_json::to_vec(&record).kind(Kind::Internal, || "encode exit.json")?)
    }

    /// How init ended, if it was kept.
    pub(crate) fn read_exit(&self) -> Option<Exit> {
        let record: ExitRecord = serde_json::from_slice(&self.read("exit.json").ok()??).ok()?;
        let at: SystemTime = clock::parse(&record.timestamp)?;
        (record.pid > 0).then_some(Exit { pid: record.pid, status: record.status, at })
    }

    /// The address of the shim that serves this bundle.
    ///
    /// # Errors
    /// Whatever the filesystem says.
    pub(crate) fn write_address(&self, address: &str) -> Result<()> {
        self.write("address", address.as_bytes())
    }

    /// What [`write_address`](Bundle::write_address) kept.
    pub(crate) fn read_address(&self) -> Option<String> {
        String::from_utf8(self.read("address").ok()??).ok().filter(|text| !text.is_empty())
    }

    /// Readers see the old content or the new, never half of it.
    fn write(&self, name: &str, content: &[u8]) -> Result<()> {
        let path = self.0.join(name);
        let temporary = self.0.join(format!(".{name}.new"));
        let write = || {
            let mut file = fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&temporary)?;
            file.write_all(content)?;
            fs::rename(&temporary, &path)
        };
        write().context(|| format!("write {}", path.display()))
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let path = self.0.join(name);
        match fs::read(&path) {
            Ok(content) => Ok(Some(content)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).context(|| format!("read {}", path.display())),
        }
    }
}

/// The pid in a file the executor wrote.
///
/// # Errors
/// Fails if there is no positive number in it.
pub(crate) fn read_pid(path: &Path) -> Result<u32> {
    let text = fs::read_to_string(path).context(|| format!("read {}", path.display()))?;
    let pid = text.trim().parse::<u32>().kind(Kind::Internal, || format!("no pid in {}", path.display()))?;
    if pid == 0 || i32::try_from(pid).is_err() {
        return Err(errors::Error::internal(format!("no pid in {}: {pid}", path.display())));
    }
    Ok(pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let bundle = Bundle::new(dir.path());
        assert_eq!(bundle.read_options().unwrap(), (Options::default(), None));
        assert_eq!(bundle.read_exit(), None);
        let options = Options { root: "/r".into(), ..Options::default() };
        bundle.write_options(&options, Path::new("/bin/runc-rs")).unwrap();
        assert_eq!(bundle.read_options().unwrap(), (options, Some("/bin/runc-rs".into())));
        let exit = Exit { pid: 7, status: 3, at: clock::parse("2024-05-06T07:08:09.5Z").unwrap() };
        bundle.write_exit(&exit).unwrap();
        assert_eq!(bundle.read_exit(), Some(exit));
        bundle.write_address("unix:///s").unwrap();
        assert_eq!(bundle.read_address().as_deref(), Some("unix:///s"));
    }

    #[test]
    fn exit_records_of_containerds_shim_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let go = r#"{"Timestamp":"2024-05-06T07:08:09.123456789+02:00","Pid":42,"Status":137}"#;
        fs::write(dir.path().join("exit.json"), go).unwrap();
        let exit = Bundle::new(dir.path()).read_exit().unwrap();
        assert_eq!((exit.pid, exit.status), (42, 137));
    }

    #[test]
    fn pids_are_positive() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (text, pid) in [("12\n", Some(12)), ("0", None), ("-1", None), ("", None), ("4294967295", None)] {
            fs::write(file.path(), text).unwrap();
            assert_eq!(read_pid(file.path()).ok(), pid, "{text:?}");
        }
    }
}
