//! Tools that this project did not write: a registry, and makers of images.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tempfile::TempDir;

/// The size of the image's one large file: more than what a layer's pipe holds.
pub const LARGE: usize = 5 << 20;

/// True when all `tools` are there; says so by name when not.
pub fn have(test: &str, tools: &[&str]) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = |tool: &&&str| std::env::split_paths(&path).any(|folder| folder.join(tool).is_file());
    match tools.iter().find(|tool| !found(tool)) {
        Some(missing) => {
            println!("SKIP {test}: needs {missing}");
            false
        }
        None => true,
    }
}

/// Runs a tool that must succeed.
pub fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {text}");
    String::from_utf8(output.stdout).unwrap()
}

/// Debian's docker-registry on a port of its own, stopped when dropped.
pub struct Registry {
    child: Child,
    pub host: String,
    _folder: TempDir,
}

impl Registry {
    pub fn start() -> Registry {
        Registry::start_as(None, None)
    }

    /// One that asks for a user's password.
    pub fn start_with_login(user: &str, password: &str) -> Registry {
        Registry::start_as(Some((user, password)), None)
    }

    /// One with TLS, by `ca.pem` and `key.pem` in `folder`.
    pub fn start_tls(folder: &Path) -> Registry {
        Registry::start_as(None, Some(folder))
    }

    fn start_as(login: Option<(&str, &str)>, tls: Option<&Path>) -> Registry {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let host = format!("127.0.0.1:{port}");
        let root = folder.path().display();
        let mut config = format!(
            "version: 0.1\nlog: {{level: info}}\nstorage:\n  filesystem: {{rootdirectory: {root}/data}}\nhttp:\n  addr: {host}\n"
        );
        if let Some(keys) = tls.map(Path::display) {
            config.push_str(&format!("  tls: {{certificate: {keys}/ca.pem, key: {keys}/key.pem}}\n"));
        }
        if let Some((user, password)) = login {
            let table = run("htpasswd", &["-Bbn", user, password]);
            std::fs::write(folder.path().join("htpasswd"), table).unwrap();
            config.push_str(&format!("auth:\n  htpasswd: {{realm: test, path: {root}/htpasswd}}\n"));
        }
        let file = folder.path().join("config.yml");
        std::fs::write(&file, config).unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let mut registry = Registry { child: child.unwrap(), host, _folder: folder };
        registry.wait_ready();
        registry
    }

    fn wait_ready(&mut self) {
        let mut errors = BufReader::new(self.child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("listening on") {
            line.clear();
            assert!(errors.read_line(&mut line).unwrap() > 0, "the registry ended");
        }
        // Keeps its pipe empty.
        std::thread::spawn(move || errors.read_to_end(&mut Vec::new()));
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An image that umoci made: three layers; the second replaces `etc/version` and has a large file, the third deletes
/// `etc/gone`.
pub struct Layout {
    pub folder: TempDir,
}

/// The image that running tests share; the last one that has it takes it away.
static SHARED: Mutex<Weak<Layout>> = Mutex::new(Weak::new());

impl Layout {
    /// The image, made if no other test has it at the moment.
    pub fn shared() -> Arc<Layout> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let layout = Arc::new(Layout::make());
            *shared = Arc::downgrade(&layout);
            layout
        })
    }

    fn make() -> Layout {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout { folder };
        run("umoci", &["init", "--layout", layout.oci().to_str().unwrap()]);
        let image = format!("{}:v1", layout.oci().display());
        run("umoci", &["new", "--image", &image]);
        layout.layer(&image, |root| {
            std::fs::create_dir(root.join("etc")).unwrap();
            std::fs::write(root.join("etc/version"), "one").unwrap();
            std::fs::write(root.join("etc/gone"), "gone").unwrap();
        });
        layout.layer(&image, |root| {
            std::fs::write(root.join("etc/version"), "two").unwrap();
            std::fs::write(root.join("large"), noise(LARGE)).unwrap();
        });
        layout.layer(&image, |root| std::fs::remove_file(root.join("etc/gone")).unwrap());
        layout
    }

    pub fn oci(&self) -> PathBuf {
        self.folder.path().join("oci")
    }

    fn layer(&self, image: &str, change: impl FnOnce(&Path)) {
        let bundle = self.folder.path().join("bundle");
        run("umoci", &["unpack", "--image", image, bundle.to_str().unwrap()]);
        change(&bundle.join("rootfs"));
        run("umoci", &["repack", "--image", image, bundle.to_str().unwrap()]);
        std::fs::remove_dir_all(&bundle).unwrap();
    }

    /// Copies the image with skopeo, to a registry or into an archive.
    pub fn copy(&self, to: &str, more: &[&str]) {
        let from = format!("oci:{}:v1", self.oci().display());
        let mut arguments = vec!["--insecure-policy", "copy", "--quiet"];
        arguments.extend(more);
        arguments.extend([from.as_str(), to]);
        run("skopeo", &arguments);
    }

    pub fn push(&self, registry: &Registry, name: &str, more: &[&str]) -> String {
        let reference = format!("{}/{name}", registry.host);
        let mut arguments = vec!["--dest-tls-verify=false"];
        arguments.extend(more);
        self.copy(&format!("docker://{reference}"), &arguments);
        reference
    }
}

/// Bytes that do not compress, the same every time (xorshift64).
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
