//! Doors for tests: each function takes bytes as a daemon, a client, the kernel, or whoever could write into a bundle, may
//! have written them, and gives them to the parser that would get them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use proto_shim::{Any, Message as _};

use crate::args::Args;
use crate::bootstrap::{decode, encode};
use crate::bundle::{Bundle, read_pid};
use crate::cgroup::{Cgroup, v1_mounts, v1_paths, v2_path};
use crate::cri_log::{Framer, Stream};
use crate::io::attach::{Hub, listen_to};
use crate::io::uri::{Input, Output};
use crate::options::Options;
use crate::spec::Spec;
use crate::{mounts, stats};

/// The command line, an argument a line, and what a daemon writes to standard input behind it. Whatever is understood is
/// answered.
pub fn start(words: &[u8], stdin: &[u8], max_version: Option<&str>) {
    let words = words.split(|byte| *byte == b'\n').map(|word| OsString::from_vec(word.to_vec()));
    let Ok(args) = Args::parse(words) else { return };
    if let Ok(params) = decode(stdin, &args, max_version) {
        assert!(encode(params.shape, "unix:///run/s").is_ok());
    }
}

/// Options of a create request.
pub fn options(bytes: &[u8]) {
    let Ok(any) = Any::parse_from_bytes(bytes) else { return };
    if let Ok(options) = Options::from_request(Some(&any)) {
        let json = serde_json::to_vec(&options).unwrap_or_default();
        assert!(serde_json::from_slice::<Options>(&json).is_ok_and(|again| again == options));
    }
}

/// Where a stream leads. What is taken is an absolute path, or nothing.
pub fn stream(text: &str) {
    let absolute = |path: &PathBuf| assert!(path.is_absolute(), "{text:?}");
    match Output::parse(text) {
        Ok(Output::Fifo(path) | Output::File(path)) => absolute(&path),
        Ok(Output::Binary(binary)) => absolute(&binary.program),
        Ok(Output::Log(log)) => {
            absolute(&log.path);
            log.attach.iter().for_each(absolute);
            assert!(log.limits.max_files > 0, "{text:?}");
        }
        Ok(Output::Nowhere) | Err(_) => {}
    }
    if let Ok(Input::Fifo(path) | Input::Attach(path)) = Input::parse(text) {
        absolute(&path);
    }
}

/// Options of a mount, one a line.
pub fn mount_options(text: &str) {
    let options: Vec<String> = text.lines().map(str::to_owned).collect();
    if let Ok(parsed) = mounts::parse(&options) {
        assert!(parsed.data.iter().all(|data| options.contains(data)));
        if let Some((folder, data)) = mounts::shorten(&parsed.data) {
            assert!(folder.is_absolute() && !data.is_empty());
        }
    }
}

/// The kernel's list of mounts and of a process's cgroups; a mount's name may be anybody's.
pub fn kernel_files(mountinfo: &str, cgroups: &str) {
    let root = Path::new("/run/bundle/rootfs");
    assert!(mounts::points_below(mountinfo, root).iter().all(|point| point.starts_with(root)));
    let _ = (v1_paths(cgroups, &v1_mounts(mountinfo)), v2_path(cgroups));
}

/// Metrics out of a folder that stands for a cgroup, read as either version.
pub fn metrics(folder: &Path) {
    let _ = stats::read(&Cgroup::V2(folder.to_owned()));
    let controllers = ["cpu", "cpuacct", "memory", "blkio", "pids", "hugetlb"];
    let dirs: BTreeMap<String, PathBuf> =
        controllers.map(|name| (name.to_owned(), folder.to_owned())).into_iter().collect();
    let _ = stats::read(&Cgroup::V1(dirs));
}

/// Reads all that a bundle keeps.
pub fn bundle(folder: &Path) {
    let bundle = Bundle::new(folder);
    let _ = bundle.read_options();
    assert!(bundle.read_exit().is_none_or(|exit| exit.pid > 0));
    let _ = bundle.read_address();
    let _ = read_pid(&bundle.init_pid());
    if let Ok(spec) = Spec::read(folder) {
        let _ = (spec.group(), spec.has_own_pid_namespace());
    }
}

/// Records of the output `pieces`, as they are kept.
pub fn records(pieces: &[&[u8]], at: SystemTime) -> Vec<u8> {
    let mut framer = Framer::new(Stream::Stdout);
    let mut log = Vec::new();
    for piece in pieces {
        framer.feed(at, piece, |record| log.extend_from_slice(record));
    }
    framer.finish(at, |record| log.extend_from_slice(record));
    log
}

/// Reads frames as an attached client may send them; `socket` is a free path. Returns the bytes of stdin, which are no more
/// than came in.
pub async fn attach_frames(bytes: &[u8], socket: &Path) -> usize {
    let Ok(hub) = Hub::bind(socket) else { return 0 };
    let mut stdin = hub.take_stdin();
    let (answers, mut answered) = tokio::sync::mpsc::channel(1);
    let counting = async {
        let mut count = 0;
        while let Some(input) = stdin.recv().await {
            count += input.len();
        }
        count
    };
    let reading = async {
        // That it is no frame is for the shim's log.
        let _ = listen_to(bytes, answers.downgrade(), std::future::pending, || Some(hub.clone())).await;
        hub.end_stdin();
        drop(answers);
    };
    let (count, (), ()) = tokio::join!(counting, reading, async { while answered.recv().await.is_some() {} });
    hub.remove();
    assert!(count <= bytes.len());
    count
}
