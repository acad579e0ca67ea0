//! Starts against programs that behave as shims of each age do.

use super::*;

struct Place {
    root: tempfile::TempDir,
    config: Config,
    namespace: Namespace,
    id: ContainerId,
}

impl Place {
    fn new() -> Place {
        let root = tempfile::tempdir().unwrap();
        let config = Config {
            state: root.path().join("state"),
            root: root.path().join("root"),
            address: PathBuf::from("/run/d.sock"),
            ttrpc_address: PathBuf::from("/run/d.sock.ttrpc"),
            binary: PathBuf::from("/bin/d"),
            runtimes: Default::default(),
            shim_timeout: Duration::from_secs(5),
            timeouts: crate::types::Timeouts::default(),
            debug: false,
            standby: false,
        };
        let (namespace, id) = (Namespace::parse("n").unwrap(), ContainerId::parse("c").unwrap());
        Place { root, config, namespace, id }
    }

    /// A shim that runs `script`.
    fn shim(&self, name: &str, script: &str) -> PathBuf {
        let path = self.root.path().join(name);
        programs::write(&path, &format!("#!/bin/sh\n{script}\n")).unwrap();
        path
    }

    async fn start(&self, binary: &Path, options: Option<&Any>, forms: &Forms) -> Result<Bootstrap> {
        let launch = Launch {
            config: &self.config,
            namespace: &self.namespace,
            id: &self.id,
            binary,
            bundle: self.root.path(),
        };
        start(launch, options, forms).await
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.root.path().join("log")).unwrap()
    }
}

#[tokio::test]
async fn flags_and_environment_are_containerds() {
    let place = Place::new();
    let script = r#"cat >stdin; echo "$@" >log; echo "$NAMESPACE $TTRPC_ADDRESS $GRPC_ADDRESS $GOMAXPROCS" >>log
pwd >>log; printf unix:///s"#;
    let shim = place.shim("shim", script);
    let options = Any { type_url: "containerd.runc.v1.Options".into(), value: vec![8, 1] };
    place.start(&shim, Some(&options), &Forms::default()).await.unwrap();
    let bundle = place.root.path().canonicalize().unwrap();
    let expected = format!(
        "-namespace n -address /run/d.sock -publish-binary /bin/d -id c start\n\
         n /run/d.sock.ttrpc /run/d.sock 2\n{}\n",
        bundle.display()
    );
    assert_eq!(place.log(), expected);
    let stdin = std::fs::read(place.root.path().join("stdin")).unwrap();
    let sent = proto_shim::Any::parse_from_bytes(&stdin).unwrap();
    assert_eq!((sent.type_url.as_str(), sent.value.as_slice()), ("containerd.runc.v1.Options", &[8, 1][..]));
}

/// containerd's newest shim refuses the old form; the second start knows better.
#[tokio::test]
async fn a_refused_form_is_followed_by_the_other_and_remembered() {
    let place = Place::new();
    // The old form without options is empty.
    let script =
        "echo x >>log; n=$(wc -c); [ $n -gt 0 ] || { echo no params >&2; exit 1; }; printf unix:///s";
    let (shim, forms) = (place.shim("shim", script), Forms::default());
    place.start(&shim, None, &forms).await.unwrap();
    assert_eq!(place.log(), "x\nx\n");
    place.start(&shim, None, &forms).await.unwrap();
    assert_eq!(place.log(), "x\nx\nx\n");
}

#[tokio::test]
async fn one_that_fails_with_a_shim_behind_it_is_cleared_before_the_other_form_is_tried() {
    let place = Place::new();
    let script = "[ $(wc -c) -gt 0 ] && { printf unix:///s; exit; }; mkfifo wait
sh -c 'read line <wait' sh -id c >/dev/null 2>&1 & echo $! >log; exit 1";
    let shim = place.shim("shim", script);
    place.start(&shim, None, &Forms::default()).await.unwrap();
    let left = format!("/proc/{}/cmdline", place.log().trim());
    // Whoever inherits it may take a moment; a zombie has no command line.
    assert_eq!(std::fs::read(left).unwrap_or_default(), b"");
}

#[tokio::test]
async fn one_that_is_killed_has_refused_nothing() {
    let place = Place::new();
    let shim = place.shim("shim", "echo x >>log; kill -9 $$");
    let error = place.start(&shim, None, &Forms::default()).await.unwrap_err();
    assert!(error.message().contains("signal: 9"), "{error:?}");
    assert_eq!(place.log(), "x\n");
}

#[tokio::test]
async fn our_own_shim_is_offered_the_new_form() {
    let place = Place::new();
    let shim = place.shim(OURS, "cat >log; printf unix:///s");
    place.start(&shim, None, &Forms::default()).await.unwrap();
    let stdin = std::fs::read(place.root.path().join("log")).unwrap();
    let params = BootstrapParams::parse_from_bytes(&stdin).unwrap();
    assert_eq!((params.instance_id.as_str(), params.namespace.as_str()), ("c", "n"));
    assert_eq!(params.containerd_ttrpc_address, "/run/d.sock.ttrpc");
}

#[tokio::test]
async fn a_refusal_says_what_the_shim_printed() {
    let place = Place::new();
    let shim = place.shim("shim", "echo out of luck >&2; exit 3");
    let error = place.start(&shim, None, &Forms::default()).await.unwrap_err();
    assert_eq!(error.message(), "failed to start shim: start failed: out of luck: exit status: 3");
}

#[tokio::test]
async fn a_shim_that_hangs_is_killed_with_what_it_forked() {
    let mut place = Place::new();
    place.config.shim_timeout = Duration::from_millis(200);
    let shim = place.shim("shim", "sleep 1000 & echo $! >log; wait");
    let error = place.start(&shim, None, &Forms::default()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::DeadlineExceeded);
    let pid: i32 = place.log().trim().parse().unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    // A signal takes a moment on a busy machine, and so does whoever inherits the process; a zombie has no command line.
    let gone = async {
        let path = format!("/proc/{}/cmdline", pid.as_raw_nonzero());
        while !std::fs::read(&path).unwrap_or_default().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), gone).await.unwrap();
}

#[test]
fn a_long_state_folder_leaves_the_socket_where_shims_put_it() {
    let mut config = Place::new().config;
    config.state = PathBuf::from("/run/runtimed");
    assert_eq!(socket_dir(&config).unwrap(), "/run/runtimed/s");
    config.state = PathBuf::from(format!("/{}", "x".repeat(60)));
    assert_eq!(socket_dir(&config), None);
}
