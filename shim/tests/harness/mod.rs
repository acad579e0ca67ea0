//! A daemon's side of the shim: starts the real binary over a busybox bundle, receives its events, and leaves
//! nothing behind. The executor is `RUNC`, or runc.
#![allow(dead_code, reason = "not every test uses every part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on shall stop")]

use std::collections::VecDeque;
use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream as StdStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proto_shim::bootstrap::{BootstrapParams, BootstrapResult, Extension};
use proto_shim::events_ttrpc::{Events, ForwardRequest, create_events};
use proto_shim::options::Options;
use proto_shim::task::v2::TaskClient as V2;
use proto_shim::task::v3::*;
use proto_shim::{Any, Empty, Message, MessageField, TypeUrl, pack, unpack};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::Notify;
use ttrpc::r#async::{Client, TtrpcContext};
use ttrpc::asynchronous::Server;
use ttrpc::asynchronous::transport::Socket;
use ttrpc::context;

pub const SHIM: &str = env!("CARGO_BIN_EXE_containerd-shim-runtimed-v2");
pub const NAMESPACE: &str = "shim-tests";
/// No step of a test takes longer on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// The cgroup above all of these tests'.
const PARENT: &str = "runtimed-shim-tests";
/// How many shims have or will have one below it.
static LIVE: std::sync::Mutex<usize> = std::sync::Mutex::new(0);

/// A daemon's directories and its ttrpc socket.
pub struct Daemon {
    pub dir: tempfile::TempDir,
    pub events: Received,
    server: Option<Server>,
}

/// Events as they came.
#[derive(Clone, Default)]
pub struct Received(Arc<Inbox>);

#[derive(Default)]
struct Inbox {
    events: Mutex<VecDeque<(String, Any)>>,
    changed: Notify,
}

/// A bundle and the shim that serves it.
pub struct Shim {
    pub id: String,
    pub bundle: PathBuf,
    pub socket: PathBuf,
    pub task: TaskClient,
    root: PathBuf,
    cgroup: String,
    pid: u32,
}

struct Receiver(Received);

#[async_trait::async_trait]
impl Events for Receiver {
    async fn forward(&self, _: &TtrpcContext, request: ForwardRequest) -> ttrpc::Result<Empty> {
        let envelope = request.envelope.unwrap_or_default();
        assert_eq!(envelope.namespace, NAMESPACE);
        let inbox = &self.0.0;
        inbox.events.lock().unwrap().push_back((envelope.topic, envelope.event.unwrap_or_default()));
        inbox.changed.notify_one();
        Ok(Empty::default())
    }
}

impl Received {
    /// The next event, whatever it is.
    pub async fn next(&self) -> (String, Any) {
        let inbox = &self.0;
        let next = async {
            loop {
                if let Some(event) = inbox.events.lock().unwrap().pop_front() {
                    return event;
                }
                inbox.changed.notified().await;
            }
        };
        tokio::time::timeout(PATIENCE, next).await.expect("no event came")
    }

    /// The next event, which must be of this topic.
    pub async fn expect<M: TypeUrl>(&self, topic: &str) -> M {
        let (came, any) = self.next().await;
        assert_eq!(came, topic);
        unpack(&any).unwrap().unwrap_or_else(|| panic!("{topic} carries {}", any.type_url))
    }
}

impl Daemon {
    pub async fn new() -> Daemon {
        let mut daemon =
            Daemon { dir: tempfile::tempdir().unwrap(), events: Received::default(), server: None };
        daemon.come().await;
        daemon
    }

    pub fn address(&self) -> PathBuf {
        self.dir.path().join("d.sock")
    }

    fn ttrpc_address(&self) -> PathBuf {
        self.dir.path().join("d.sock.ttrpc")
    }

    /// Begins to listen for events.
    pub async fn come(&mut self) {
        let service = create_events(Arc::new(Receiver(self.events.clone())));
        let address = format!("unix://{}", self.ttrpc_address().display());
        let mut server = Server::new().bind(&address).unwrap().register_service(service);
        server.start().await.unwrap();
        self.server = Some(server);
    }

    /// Goes away, like a daemon that was killed.
    pub async fn go(&mut self) {
        self.server.take().unwrap().shutdown().await.unwrap();
        let _ = fs::remove_file(self.ttrpc_address());
    }

    /// The command line of the shim in this bundle.
    pub fn shim(&self, id: &str, bundle: &Path, action: &str) -> Command {
        let mut command = Command::new(SHIM);
        command.args(["-namespace", NAMESPACE, "-id", id, "-publish-binary", "/bin/false", "-address"]);
        command.arg(self.address()).arg("-debug").arg(action).current_dir(bundle);
        command.env("TTRPC_ADDRESS", self.ttrpc_address()).env_remove("MAX_SHIM_VERSION");
        command
    }

    /// Runs it with `input`.
    pub fn call(&self, id: &str, bundle: &Path, action: &str, input: &[u8]) -> Output {
        run(self.shim(id, bundle, action), input)
    }

    /// A bundle whose config.json is changed by `change`.
    pub fn bundle(&self, id: &str, change: impl FnOnce(&mut Value)) -> PathBuf {
        let bundle = self.dir.path().join("bundles").join(id);
        fs::create_dir_all(&bundle).unwrap();
        make_rootfs(&bundle.join("rootfs"));
        let mut config = config(&cgroup(self, id));
        change(&mut config);
        fs::write(bundle.join("config.json"), config.to_string()).unwrap();
        bundle
    }

    /// The runtime options every container here has: nothing outside the temporary directory.
    pub fn options(&self) -> Options {
        Options {
            root: self.dir.path().join("runc").to_str().unwrap().to_owned(),
            binary_name: executor(),
            ..Options::default()
        }
    }

    pub fn params(&self, id: &str) -> Vec<u8> {
        let options = pack(&self.options()).unwrap();
        let extension = Extension { value: MessageField::some(options), ..Extension::default() };
        let params = BootstrapParams {
            instance_id: id.to_owned(),
            namespace: NAMESPACE.to_owned(),
            containerd_grpc_address: self.address().to_str().unwrap().to_owned(),
            containerd_ttrpc_address: self.ttrpc_address().to_str().unwrap().to_owned(),
            socket_dir: Some(self.dir.path().join("s").to_str().unwrap().to_owned()),
            extensions: vec![extension],
            ..BootstrapParams::default()
        };
        params.write_to_bytes().unwrap()
    }

    /// A started shim for a container that runs `script`.
    pub async fn start(&self, id: &str, script: &str) -> Shim {
        self.start_with(id, |config| config["process"]["args"] = json!(["/bin/sh", "-c", script])).await
    }

    /// A started shim, its bundle's config.json changed.
    pub async fn start_with(&self, id: &str, change: impl FnOnce(&mut Value)) -> Shim {
        let bundle = self.bundle(id, change);
        let output = self.call(id, &bundle, "start", &self.params(id));
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        let result = BootstrapResult::parse_from_bytes(&output.stdout).unwrap();
        assert_eq!((result.version, result.protocol.as_str()), (3, "ttrpc"));
        let socket = PathBuf::from(result.address.strip_prefix("unix://").unwrap());
        let task = TaskClient::new(connect(&socket).await);
        let request = ConnectRequest { id: id.to_owned(), ..ConnectRequest::default() };
        let pid = task.connect(quick(), &request).await.unwrap().shim_pid;
        let root = self.dir.path().join("runc");
        *LIVE.lock().unwrap_or_else(std::sync::PoisonError::into_inner) += 1;
        Shim { id: id.to_owned(), bundle, socket, task, root, cgroup: cgroup(self, id), pid }
    }

    /// A log with attached clients: its file, its socket, and the URI for both.
    pub fn log(&self, name: &str) -> (PathBuf, PathBuf, String) {
        let log = self.dir.path().join("logs").join(name);
        let socket = self.dir.path().join("attach").join(name);
        let uri = format!("log://{}?max-size=1000000&max-files=3&attach={}", log.display(), socket.display());
        (log, socket, uri)
    }
}

impl Shim {
    pub fn pid(&self) -> u32 {
        self.pid
    }

    pub async fn v2(&self) -> V2 {
        V2::new(connect(&self.socket).await)
    }

    pub fn create_request(&self, daemon: &Daemon, stdin: &str, output: &str) -> CreateTaskRequest {
        CreateTaskRequest {
            id: self.id.clone(),
            bundle: self.bundle.to_str().unwrap().to_owned(),
            stdin: stdin.to_owned(),
            stdout: output.to_owned(),
            stderr: if output.starts_with("binary") { String::new() } else { output.to_owned() },
            options: MessageField::some(pack(&daemon.options()).unwrap()),
            ..CreateTaskRequest::default()
        }
    }

    pub async fn create(&self, request: &CreateTaskRequest) -> u32 {
        self.task.create(quick(), request).await.unwrap().pid
    }

    pub async fn run(&self, exec: &str) -> ttrpc::Result<StartResponse> {
        let request = StartRequest { id: self.id.clone(), exec_id: exec.to_owned(), ..Default::default() };
        self.task.start(quick(), &request).await
    }

    pub async fn exec(&self, exec: &str, args: &[&str], output: &str) -> ttrpc::Result<Empty> {
        self.exec_with_input(exec, args, "", output).await
    }

    pub async fn exec_with_input(
        &self,
        exec: &str,
        args: &[&str],
        stdin: &str,
        output: &str,
    ) -> ttrpc::Result<Empty> {
        let spec = json!({"args": args, "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}});
        let spec = Any {
            type_url: "types.containerd.io/opencontainers/runtime-spec/1/Process".to_owned(),
            value: spec.to_string().into_bytes(),
            ..Any::default()
        };
        let request = ExecProcessRequest {
            id: self.id.clone(),
            exec_id: exec.to_owned(),
            stdin: stdin.to_owned(),
            stdout: output.to_owned(),
            stderr: output.to_owned(),
            spec: MessageField::some(spec),
            ..ExecProcessRequest::default()
        };
        self.task.exec(quick(), &request).await
    }

    pub async fn wait(&self, exec: &str) -> u32 {
        let request = WaitRequest { id: self.id.clone(), exec_id: exec.to_owned(), ..Default::default() };
        self.task.wait(quick(), &request).await.unwrap().exit_status
    }

    pub async fn kill(&self, exec: &str, signal: u32) -> ttrpc::Result<Empty> {
        let request =
            KillRequest { id: self.id.clone(), exec_id: exec.to_owned(), signal, ..Default::default() };
        self.task.kill(quick(), &request).await
    }

    pub async fn delete(&self, exec: &str) -> ttrpc::Result<DeleteResponse> {
        let request = DeleteRequest { id: self.id.clone(), exec_id: exec.to_owned(), ..Default::default() };
        self.task.delete(quick(), &request).await
    }

    pub async fn state(&self, exec: &str) -> StateResponse {
        let request = StateRequest { id: self.id.clone(), exec_id: exec.to_owned(), ..Default::default() };
        self.task.state(quick(), &request).await.unwrap()
    }

    /// Asks the shim to leave, and waits until it has.
    pub async fn shutdown(&self) {
        let request = ShutdownRequest { id: self.id.clone(), ..ShutdownRequest::default() };
        self.task.shutdown(quick(), &request).await.unwrap();
        gone(self.pid).await;
        assert!(!self.socket.exists(), "the socket stays behind");
    }
}

impl Drop for Shim {
    /// Whatever a failed test has left.
    fn drop(&mut self) {
        let alive = fs::read_to_string(format!("/proc/{}/comm", self.pid)).unwrap_or_default();
        if alive.starts_with("containerd-shim") {
            let _ = sys::kill::kill(self.pid, 9);
        }
        let mut delete = Command::new(executor());
        delete.arg("--root").arg(self.root.join(NAMESPACE)).args(["delete", "--force", &self.id]);
        let _ = delete.stdout(Stdio::null()).stderr(Stdio::null()).status();
        let _ = rustix::mount::unmount(self.bundle.join("rootfs"), rustix::mount::UnmountFlags::DETACH);
        // Not while another makes one beside it: runc fails when what is above goes in that moment.
        let mut live = LIVE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *live -= 1;
        let hierarchies = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
        for hierarchy in hierarchies.map(|entry| entry.path()).chain(["/sys/fs/cgroup".into()]) {
            let _ = fs::remove_dir(hierarchy.join(self.cgroup.trim_start_matches('/')));
            if *live == 0 {
                let _ = fs::remove_dir(hierarchy.join(PARENT));
            }
        }
    }
}

/// An attached client.
pub struct Attached(UnixStream);

impl Attached {
    pub fn to(socket: &Path) -> Attached {
        let stream = StdStream::connect(socket).unwrap();
        stream.set_nonblocking(true).unwrap();
        Attached(UnixStream::from_std(stream).unwrap())
    }

    pub async fn send(&mut self, kind: u8, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        self.0.write_all(&[&[kind], &length[..], payload].concat()).await.unwrap();
    }

    /// The next frame; `None` at the end.
    pub async fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        let read = async {
            let mut header = [0; 5];
            self.0.read_exact(&mut header).await.ok()?;
            let [kind, length @ ..] = header;
            let mut payload = vec![0; u32::from_be_bytes(length) as usize];
            self.0.read_exact(&mut payload).await.unwrap();
            Some((kind, payload))
        };
        tokio::time::timeout(PATIENCE, read).await.expect("no frame came")
    }

    /// Reads standard output until it has said this.
    pub async fn hears(&mut self, text: &str) {
        let mut all = String::new();
        while !all.contains(text) {
            let (kind, payload) = self.next().await.unwrap_or_else(|| panic!("it ended after {all:?}"));
            if kind == 1 {
                all.push_str(&String::from_utf8_lossy(&payload));
            }
        }
    }

    /// All output of one kind until the end.
    pub async fn rest(&mut self, kind: u8) -> String {
        let mut all = Vec::new();
        while let Some((came, payload)) = self.next().await {
            if came == kind {
                all.extend(payload);
            }
        }
        String::from_utf8(all).unwrap()
    }
}

/// The executor under the shim.
pub fn executor() -> String {
    std::env::var("RUNC").unwrap_or_else(|_| "runc".to_owned())
}

pub fn quick() -> context::Context {
    context::with_duration(PATIENCE)
}

pub fn run(mut command: Command, input: &[u8]) -> Output {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A program that does not read its input is judged by its output.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

pub async fn connect(socket: &Path) -> Client {
    Client::new(Socket::from(UnixStream::connect(socket).await.unwrap()))
}

/// Waits until a process that is not our child has ended.
pub async fn gone(pid: u32) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    let Ok(fd) = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::NONBLOCK) else { return };
    let fd = runc_client::async_fd(fd).unwrap();
    tokio::time::timeout(PATIENCE, fd.readable()).await.expect("the process stays").unwrap().retain_ready();
}

/// The code and text of a refusal.
pub fn code<T: std::fmt::Debug>(result: ttrpc::Result<T>) -> (ttrpc::Code, String) {
    match result.unwrap_err() {
        ttrpc::Error::RpcStatus(status) => (status.code(), status.message),
        other => panic!("{other}"),
    }
}

/// What came from one of the streams, "stdout" or "stderr", by a CRI log.
pub fn output_of(log: &Path, stream: &str) -> String {
    let text = fs::read_to_string(log).unwrap();
    let mut output = String::new();
    for line in text.split_terminator('\n') {
        let mut parts = line.splitn(4, ' ').skip(1);
        let (from, tag, content) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
        if from == stream {
            output.push_str(content);
            output.push_str(if tag == "F" { "\n" } else { "" });
        }
    }
    output
}

fn cgroup(daemon: &Daemon, id: &str) -> String {
    let unique = daemon.dir.path().file_name().unwrap().to_string_lossy().replace('.', "");
    format!("/{PARENT}/{unique}-{id}")
}

fn make_rootfs(rootfs: &Path) {
    for dir in ["bin", "proc", "dev", "tmp", "sys"] {
        fs::create_dir_all(rootfs.join(dir)).unwrap();
    }
    fs::copy("/bin/busybox", rootfs.join("bin/busybox")).unwrap();
    for applet in ["sh", "cat", "echo", "sleep", "true", "head", "stty", "kill", "dd", "seq", "tail"] {
        symlink("busybox", rootfs.join("bin").join(applet)).unwrap();
    }
}

fn config(cgroup: &str) -> Value {
    let namespaces = ["pid", "mount", "ipc", "uts"].map(|kind| json!({"type": kind}));
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "args": ["/bin/true"], "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0},
        },
        "root": {"path": "rootfs"},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance", "ptmxmode=0666"]},
        ],
        "linux": {"namespaces": namespaces, "cgroupsPath": cgroup},
    })
}
