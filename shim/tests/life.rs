//! The life of a container under the real shim and a real executor. Run as root.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on shall stop")]

mod harness;

use std::fs;

use harness::{Attached, Daemon, Shim, code, gone, output_of, quick};
use proto_shim::events::{
    TaskCreate, TaskDelete, TaskExecAdded, TaskExecStarted, TaskExit, TaskOOM, TaskStart,
};
use proto_shim::metrics::{v1, v2};
use proto_shim::options::{CheckpointOptions, ProcessDetails};
use proto_shim::task::v3::*;
use proto_shim::types::{Mount, Status};
use proto_shim::{Message, TypeUrl, pack, unpack};
use rustix::fs::OFlags;
use serde_json::json;
use ttrpc::Code;

#[tokio::test]
async fn a_container_lives_and_dies_in_order() {
    let daemon = Daemon::new().await;
    let shim = daemon.start("c1", "echo out; echo err >&2; printf tail; exit 7").await;
    let (log, socket, uri) = daemon.log("c1");
    let pid = shim.create(&shim.create_request(&daemon, "", &uri)).await;
    let state = shim.state("").await;
    assert_eq!((state.status.enum_value(), state.pid), (Ok(Status::CREATED), pid));
    assert_eq!(state.exited_at.seconds, -62_135_596_800, "Go's zero time");
    let again = shim.task.create(quick(), &shim.create_request(&daemon, "", &uri)).await;
    assert_eq!(code(again).0, Code::ALREADY_EXISTS);
    assert_eq!(fs::read_to_string(shim.bundle.join("init.pid")).unwrap(), pid.to_string());

    assert_eq!(shim.run("").await.unwrap().pid, pid);
    assert_eq!(shim.wait("").await, 7);
    assert_eq!(
        code(shim.run("").await),
        (Code::FAILED_PRECONDITION, "cannot start a stopped process".into())
    );
    assert_eq!(code(shim.kill("", 9).await), (Code::NOT_FOUND, "process already finished: not found".into()));
    assert_eq!(output_of(&log, "stdout"), "out\ntail");
    assert_eq!(output_of(&log, "stderr"), "err\n");
    assert!(socket.exists());
    let deleted = shim.delete("").await.unwrap();
    assert_eq!((deleted.pid, deleted.exit_status), (pid, 7));
    assert!(!socket.exists());

    let create: TaskCreate = daemon.events.expect("/tasks/create").await;
    assert_eq!((create.container_id.as_str(), create.pid, create.io.stdout.as_str()), ("c1", pid, &*uri));
    daemon.events.expect::<TaskStart>("/tasks/start").await;
    let exit: TaskExit = daemon.events.expect("/tasks/exit").await;
    assert_eq!((exit.id.as_str(), exit.pid, exit.exit_status), ("c1", pid, 7));
    let delete: TaskDelete = daemon.events.expect("/tasks/delete").await;
    assert_eq!((delete.pid, delete.exit_status), (pid, 7));
    let request = StateRequest { id: "c1".into(), ..StateRequest::default() };
    assert_eq!(code(shim.task.state(quick(), &request).await).0, Code::NOT_FOUND);
    shim.shutdown().await;
}

#[tokio::test]
async fn verbs_are_refused_while_a_container_runs() {
    let daemon = Daemon::new().await;
    let shim = daemon.start("c1", "exec sleep 1000").await;
    assert_eq!(code(shim.kill("", 9).await).0, Code::NOT_FOUND);
    shim.create(&shim.create_request(&daemon, "", "")).await;
    assert_eq!(code(shim.exec("bad/id", &["true"], "").await).0, Code::INVALID_ARGUMENT);
    shim.run("").await.unwrap();
    assert_eq!(
        code(shim.delete("").await),
        (Code::FAILED_PRECONDITION, "cannot delete a running process".into())
    );
    assert_eq!(code(shim.run("").await).1, "cannot start a running process");
    assert_eq!(code(shim.kill("nope", 9).await).0, Code::NOT_FOUND);
    assert_eq!(code(shim.kill("", 65).await).0, Code::INVALID_ARGUMENT);
    // With a container left the shim stays.
    let request = ShutdownRequest { id: "c1".into(), ..ShutdownRequest::default() };
    shim.task.shutdown(quick(), &request).await.unwrap();
    shim.kill("", 9).await.unwrap();
    assert_eq!(shim.wait("").await, 137);
    shim.delete("").await.unwrap();
    shim.shutdown().await;
}

#[tokio::test]
async fn a_container_that_never_ran_is_deleted() {
    let daemon = Daemon::new().await;
    let shim = daemon.start("c1", "true").await;
    shim.create(&shim.create_request(&daemon, "", "")).await;
    assert_eq!(shim.delete("").await.unwrap().exit_status, 137);
    for topic in ["/tasks/create", "/tasks/exit", "/tasks/delete"] {
        assert_eq!(daemon.events.next().await.0, topic);
    }
    shim.shutdown().await;
}

#[tokio::test]
async fn a_failed_create_unmounts_and_says_why() {
    let daemon = Daemon::new().await;
    let shim = daemon.start_with("c1", |config| config["process"]["cwd"] = json!("relative")).await;
    let source = daemon.dir.path().join("source");
    fs::create_dir_all(source.join("marker")).unwrap();
    let mut request = shim.create_request(&daemon, "", "");
    request.rootfs = vec![bind(&source)];
    let (_, message) = code(shim.task.create(quick(), &request).await);
    assert!(
        message.starts_with("OCI runtime create failed: ") && message.to_lowercase().contains("cwd"),
        "{message}"
    );
    assert!(!shim.bundle.join("rootfs/marker").exists(), "still mounted");
    // The id is free again.
    assert_eq!(code(shim.delete("").await).0, Code::NOT_FOUND);
    request.rootfs[0].options = vec!["uidmap=0:1:2".into()];
    let (refused, message) = code(shim.task.create(quick(), &request).await);
    assert!(refused == Code::UNIMPLEMENTED && message.contains("uidmap"), "{message}");
    request.rootfs.clear();
    request.stdout = "gopher://x".into();
    assert_eq!(code(shim.task.create(quick(), &request).await).0, Code::INVALID_ARGUMENT);
    shim.shutdown().await;
}

#[tokio::test]
async fn attached_clients_miss_nothing_and_feed_stdin() {
    let daemon = Daemon::new().await;
    let shim = daemon.start("c1", "echo first; cat; echo problem >&2").await;
    let (log, socket, uri) = daemon.log("c1");
    shim.create(&shim.create_request(&daemon, &format!("attach://{}", socket.display()), &uri)).await;
    let mut early = Attached::to(&socket);
    shim.run("").await.unwrap();
    assert_eq!(early.next().await, Some((1, b"first\n".to_vec())));
    let mut late = Attached::to(&socket);
    late.send(0, b"typed\n").await;
    assert_eq!(early.next().await, Some((1, b"typed\n".to_vec())));
    assert_eq!(late.next().await, Some((1, b"typed\n".to_vec())));
    // The log is moved away, as a kubelet does.
    fs::rename(&log, log.with_extension("moved")).unwrap();
    early.send(4, b"").await;
    assert_eq!(early.next().await, Some((4, Vec::new())));
    late.send(3, b"").await;
    assert_eq!(early.rest(2).await, "problem\n");
    assert_eq!(late.rest(2).await, "problem\n");
    assert_eq!(shim.wait("").await, 0);
    assert_eq!(output_of(&log.with_extension("moved"), "stdout"), "first\ntyped\n");
    assert_eq!(output_of(&log, "stderr"), "problem\n");
    shim.delete("").await.unwrap();
    shim.shutdown().await;
}

#[tokio::test]
async fn much_output_is_complete_for_the_log_and_for_clients() {
    let daemon = Daemon::new().await;
    let shim = daemon.start("c1", "seq 1 40000").await;
    let log = daemon.dir.path().join("log");
    let socket = daemon.dir.path().join("attach.sock");
    let uri = format!("log://{}?attach={}", log.display(), socket.display());
    shim.create(&shim.create_request(&daemon, "", &uri)).await;
    let mut client = Attached::to(&socket);
    shim.run("").await.unwrap();
    let expected: String = (1..=40000).map(|number| format!("{number}\n")).collect();
    assert!(client.rest(1).await == expected);
    assert_eq!(shim.wait("").await, 0);
    assert!(output_of(&log, "stdout") == expected);
    shim.delete("").await.unwrap();
    shim.shutdown().await;
}

#[tokio::test]
async fn added_processes_run_and_their_ends_come_first() {
    let daemon = Daemon::new().await;
    let shim = daemon.start("c1", "exec sleep 1000").await;
    shim.create(&shim.create_request(&daemon, "", "")).await;
    shim.run("").await.unwrap();
    let (log, socket, uri) = daemon.log("e1");
    shim.exec("e1", &["/bin/sh", "-c", "echo added; exit 5"], &uri).await.unwrap();
    let mut client = Attached::to(&socket);
    assert_eq!(code(shim.exec("e1", &["true"], "").await).0, Code::ALREADY_EXISTS);
    assert_eq!(code(shim.kill("e1", 9).await).0, Code::FAILED_PRECONDITION);
    let pid = shim.run("e1").await.unwrap().pid;
    assert_eq!(shim.wait("e1").await, 5);
    assert_eq!(client.rest(1).await, "added\n");
    assert_eq!(output_of(&log, "stdout"), "added\n");
    let deleted = shim.delete("e1").await.unwrap();
    assert_eq!((deleted.pid, deleted.exit_status), (pid, 5));
    assert_eq!(code(shim.delete("e1").await).0, Code::NOT_FOUND);
    assert!(!socket.exists());

    shim.exec("missing", &["/nonexistent"], "").await.unwrap();
    let (_, message) = code(shim.run("missing").await);
    assert!(message.contains("OCI runtime exec failed") && message.contains("/nonexistent"), "{message}");
    assert_eq!(shim.wait("missing").await, 255);
    assert_eq!(shim.state("missing").await.status, Status::CREATED.into());
    assert_eq!(code(shim.run("missing").await).0, Code::FAILED_PRECONDITION);
    shim.delete("missing").await.unwrap();

    shim.exec("e2", &["sleep", "1000"], "").await.unwrap();
    let second = shim.run("e2").await.unwrap().pid;
    shim.exec("init", &["true"], "").await.unwrap();
    shim.run("init").await.unwrap();
    assert_eq!(shim.wait("init").await, 0);
    shim.delete("init").await.unwrap();
    assert_eq!(
        fs::read_to_string(shim.bundle.join("init.pid")).unwrap(),
        shim.state("").await.pid.to_string()
    );
    let request = PidsRequest { id: "c1".into(), ..PidsRequest::default() };
    let pids = shim.task.pids(quick(), &request).await.unwrap().processes;
    assert_eq!(pids.len(), 2);
    let named = pids.iter().find(|process| process.pid == second).unwrap();
    assert_eq!(unpack::<ProcessDetails>(&named.info).unwrap().unwrap().exec_id, "e2");
    shim.kill("", 9).await.unwrap();
    assert_eq!(shim.wait("").await, 137);
    shim.delete("").await.unwrap();

    let events = daemon.events.clone();
    for topic in ["/tasks/create", "/tasks/start"] {
        assert_eq!(events.next().await.0, topic);
    }
    assert_eq!(events.expect::<TaskExecAdded>("/tasks/exec-added").await.exec_id, "e1");
    assert_eq!(events.expect::<TaskExecStarted>("/tasks/exec-started").await.pid, pid);
    assert_eq!(events.expect::<TaskExit>("/tasks/exit").await.id, "e1");
    events.expect::<TaskExecAdded>("/tasks/exec-added").await;
    events.expect::<TaskExecAdded>("/tasks/exec-added").await;
    events.expect::<TaskExecStarted>("/tasks/exec-started").await;
    for topic in ["/tasks/exec-added", "/tasks/exec-started", "/tasks/exit"] {
        assert_eq!(events.next().await.0, topic);
    }
    assert_eq!(events.expect::<TaskExit>("/tasks/exit").await.id, "e2");
    assert_eq!(events.expect::<TaskExit>("/tasks/exit").await.id, "c1");
    shim.shutdown().await;
}

/// A daemon may die after it has added one: its client would wait for the end of fifos that the shim alone holds.
#[tokio::test]
async fn nothing_is_opened_for_an_added_process_before_its_start() {
    let daemon = Daemon::new().await;
    let shim = daemon.start("c1", "exec sleep 1000").await;
    shim.create(&shim.create_request(&daemon, "", "")).await;
    shim.run("").await.unwrap();
    let (stdin, stdout) = (make_fifo(&daemon, "in"), make_fifo(&daemon, "out"));
    let open = |access: OFlags, path: &str| {
        rustix::fs::open(path, access | OFlags::NONBLOCK, rustix::fs::Mode::empty())
    };
    let before = descriptors(&shim);
    for id in ["deleted", "run"] {
        shim.exec_with_input(id, &["cat"], &stdin, &stdout).await.unwrap();
    }
    assert_eq!(descriptors(&shim), before);
    assert_eq!(open(OFlags::WRONLY, &stdin).unwrap_err(), rustix::io::Errno::NXIO, "somebody reads stdin");
    let client = open(OFlags::RDONLY, &stdout).unwrap();
    assert_eq!(rustix::io::read(&client, &mut [0; 1]), Ok(0), "somebody may write");

    assert_eq!(shim.state("deleted").await.status, Status::CREATED.into());
    assert_eq!(shim.state("deleted").await.stdout, stdout);
    assert_eq!(code(shim.kill("deleted", 9).await).1, "process not created");
    let size = ResizePtyRequest { id: "c1".into(), exec_id: "deleted".into(), ..ResizePtyRequest::default() };
    shim.task.resize_pty(quick(), &size).await.unwrap();
    shim.delete("deleted").await.unwrap();
    let refused = code(shim.exec("unreadable", &["true"], "nowhere://at/all").await);
    assert_eq!(refused.0, Code::INVALID_ARGUMENT);
    assert_eq!(code(shim.delete("unreadable").await).0, Code::NOT_FOUND);
    let missing = daemon.dir.path().join("missing").display().to_string();
    shim.exec("closed", &["true"], &missing).await.unwrap();
    let (_, said) = code(shim.run("closed").await);
    assert!(said.contains(&missing), "{said}");
    shim.delete("closed").await.unwrap();

    // What a client says before the start holds for its streams.
    let close =
        CloseIORequest { id: "c1".into(), exec_id: "run".into(), stdin: true, ..CloseIORequest::default() };
    shim.task.close_io(quick(), &close).await.unwrap();
    shim.run("run").await.unwrap();
    assert_eq!(shim.wait("run").await, 0);
    // Nobody deletes it: a client may be gone, too.
    let released = async {
        while descriptors(&shim) > before {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(harness::PATIENCE, released).await.expect("its streams stay open");
    shim.kill("", 9).await.unwrap();
    shim.wait("").await;
    shim.delete("").await.unwrap();
    shim.shutdown().await;
}

/// The output that is there is delivered; who holds the streams in the background keeps nobody waiting when it is deleted.
#[tokio::test]
async fn an_added_process_that_leaves_another_behind_is_deleted() {
    let daemon = Daemon::new().await;
    let bundle = daemon.dir.path().join("bundles/c1");
    fs::create_dir_all(&bundle).unwrap();
    let log = make_fifo(&daemon, "bundles/c1/log");
    let shim = daemon.start("c1", "exec sleep 1000").await;
    shim.create(&shim.create_request(&daemon, "", "")).await;
    shim.run("").await.unwrap();
    let stdout = make_fifo(&daemon, "out");
    let reading = stdout.clone();
    let reader = std::thread::spawn(move || fs::read_to_string(reading).unwrap());
    shim.exec("e1", &["sh", "-c", "sleep 1000 & echo done"], &stdout).await.unwrap();
    shim.run("e1").await.unwrap();
    assert_eq!(shim.wait("e1").await, 0);
    shim.delete("e1").await.unwrap();
    assert_eq!(reader.join().unwrap(), "done\n");
    let flags = OFlags::RDONLY | OFlags::NONBLOCK;
    let mut said = vec![0; 1 << 16];
    let log = rustix::fs::open(log, flags, rustix::fs::Mode::empty()).unwrap();
    let length = rustix::io::read(&log, &mut said).unwrap();
    let said = String::from_utf8_lossy(&said[..length]);
    assert!(said.contains("output is still being delivered"), "{said}");
    assert!(!said.contains("could not be delivered"), "{said}");
    shim.kill("", 9).await.unwrap();
    shim.wait("").await;
    shim.delete("").await.unwrap();
    shim.shutdown().await;
}

fn descriptors(shim: &Shim) -> usize {
    fs::read_dir(format!("/proc/{}/fd", shim.pid())).unwrap().count()
}

#[tokio::test]
async fn events_wait_for_a_daemon_that_is_away() {
    let mut daemon = Daemon::new().await;
    let shim = daemon.start("c1", "exit 1").await;
    shim.create(&shim.create_request(&daemon, "", "")).await;
    daemon.events.expect::<TaskCreate>("/tasks/create").await;
    daemon.go().await;
    shim.run("").await.unwrap();
    assert_eq!(shim.wait("").await, 1);
    daemon.come().await;
    daemon.events.expect::<TaskStart>("/tasks/start").await;
    assert_eq!(daemon.events.expect::<TaskExit>("/tasks/exit").await.exit_status, 1);
    shim.delete("").await.unwrap();
    daemon.events.expect::<TaskDelete>("/tasks/delete").await;
    shim.shutdown().await;
}

#[tokio::test]
async fn a_terminal_is_followed_fed_and_resized() {
    let daemon = Daemon::new().await;
    let script = "read line; echo got $line; stty size";
    let terminal = |config: &mut serde_json::Value| {
        config["process"]["terminal"] = json!(true);
        config["process"]["args"] = json!(["/bin/sh", "-c", script]);
    };
    let shim = daemon.start_with("c1", terminal).await;
    let (log, socket, uri) = daemon.log("c1");
    let mut request = shim.create_request(&daemon, &format!("attach://{}", socket.display()), &uri);
    request.terminal = true;
    shim.create(&request).await;
    let mut client = Attached::to(&socket);
    let size = ResizePtyRequest { id: "c1".into(), width: 93, height: 41, ..ResizePtyRequest::default() };
    shim.task.resize_pty(quick(), &size).await.unwrap();
    shim.run("").await.unwrap();
    client.send(0, b"typed\n").await;
    let output = client.rest(1).await;
    assert!(output.contains("got typed\r\n41 93\r\n"), "{output:?}");
    assert_eq!(shim.wait("").await, 0);
    assert!(fs::read_to_string(log).unwrap().contains("stdout F got typed\r\n"));
    shim.delete("").await.unwrap();
    shim.shutdown().await;
}

#[tokio::test]
async fn a_fifo_without_a_reader_does_not_block_the_container() {
    let daemon = Daemon::new().await;
    let shim = daemon.start("c1", "dd if=/dev/zero bs=65536 count=32 2>/dev/null; exit 3").await;
    let fifo = make_fifo(&daemon, "fifo");
    shim.create(&shim.create_request(&daemon, "", &fifo)).await;
    shim.run("").await.unwrap();
    assert_eq!(shim.wait("").await, 3);
    shim.delete("").await.unwrap();
    shim.shutdown().await;
}

#[tokio::test]
async fn fifos_carry_input_and_output_and_version_two_is_served() {
    let daemon = Daemon::new().await;
    let shim = daemon.start("c1", "cat; echo end").await;
    let (stdin, stdout) = (make_fifo(&daemon, "in"), make_fifo(&daemon, "out"));
    let reading = stdout.clone();
    let reader = std::thread::spawn(move || fs::read_to_string(reading).unwrap());
    let task = shim.v2().await;
    task.create(quick(), &shim.create_request(&daemon, &stdin, &stdout)).await.unwrap();
    let start = StartRequest { id: "c1".into(), ..StartRequest::default() };
    task.start(quick(), &start).await.unwrap();
    fs::write(&stdin, "through the fifo\n").unwrap();
    let close = CloseIORequest { id: "c1".into(), stdin: true, ..CloseIORequest::default() };
    task.close_io(quick(), &close).await.unwrap();
    let wait = WaitRequest { id: "c1".into(), ..WaitRequest::default() };
    assert_eq!(task.wait(quick(), &wait).await.unwrap().exit_status, 0);
    assert_eq!(reader.join().unwrap(), "through the fifo\nend\n");
    shim.delete("").await.unwrap();
    shim.shutdown().await;
}

#[tokio::test]
async fn logging_programs_get_both_outputs() {
    let daemon = Daemon::new().await;
    let shim = daemon.start("c1", "echo out; echo err >&2").await;
    let program = daemon.dir.path().join("logger");
    let done = make_fifo(&daemon, "done");
    // The last line is written once both outputs have ended.
    let script = "#!/bin/sh\nexec 5>&-\ncat <&3 >$2.out\ncat <&4 >$2.err\necho $CONTAINER_NAMESPACE $CONTAINER_ID >$4\n";
    programs::write(&program, script).unwrap();
    let base = daemon.dir.path().join("kept");
    let uri = format!("binary://{}?base={}&done={done}", program.display(), base.display());
    shim.create(&shim.create_request(&daemon, "", &uri)).await;
    let ids = std::thread::spawn(move || fs::read_to_string(done).unwrap());
    shim.run("").await.unwrap();
    assert_eq!(shim.wait("").await, 0);
    assert_eq!(ids.join().unwrap(), format!("{} c1\n", harness::NAMESPACE));
    assert_eq!(fs::read_to_string(base.with_extension("out")).unwrap(), "out\n");
    assert_eq!(fs::read_to_string(base.with_extension("err")).unwrap(), "err\n");
    shim.delete("").await.unwrap();
    shim.shutdown().await;
}

#[tokio::test]
async fn a_file_is_appended_to_and_a_silent_logging_program_is_refused() {
    let daemon = Daemon::new().await;
    let shim = daemon.start("c1", "echo out; echo err >&2").await;
    let refused = shim.create_request(&daemon, "", "binary-v2:///bin/true");
    let (_, message) = code(shim.task.create(quick(), &refused).await);
    assert!(message.contains("/bin/true") && message.contains("without a word"), "{message}");
    let file = daemon.dir.path().join("made/for/it");
    shim.create(&shim.create_request(&daemon, "", &format!("file://{}", file.display()))).await;
    fs::write(&file, "before\n").unwrap();
    shim.run("").await.unwrap();
    assert_eq!(shim.wait("").await, 0);
    let mut lines: Vec<String> = fs::read_to_string(file).unwrap().lines().map(str::to_owned).collect();
    assert_eq!(lines.remove(0), "before");
    lines.sort();
    assert_eq!(lines, ["err", "out"]);
    shim.delete("").await.unwrap();
    shim.shutdown().await;
}

#[tokio::test]
async fn pause_resume_and_metrics() {
    let daemon = Daemon::new().await;
    let shim = daemon.start("c1", "exec sleep 1000").await;
    shim.create(&shim.create_request(&daemon, "", "")).await;
    shim.run("").await.unwrap();
    shim.task.pause(quick(), &PauseRequest { id: "c1".into(), ..PauseRequest::default() }).await.unwrap();
    assert_eq!(shim.state("").await.status.enum_value(), Ok(Status::PAUSED));
    let refusal = code(shim.exec("e1", &["true"], "").await);
    assert_eq!(refusal, (Code::FAILED_PRECONDITION, "cannot exec in a paused state".into()));
    let resume = ResumeRequest { id: "c1".into(), ..ResumeRequest::default() };
    shim.task.resume(quick(), &resume).await.unwrap();
    assert_eq!(code(shim.task.resume(quick(), &resume).await).1, "cannot resume a running process");

    let request = StatsRequest { id: "c1".into(), ..StatsRequest::default() };
    let stats = shim.task.stats(quick(), &request).await.unwrap().stats.unwrap();
    let pids = match stats.type_url.as_str() {
        v1::Metrics::TYPE_URL => v1::Metrics::parse_from_bytes(&stats.value).unwrap().pids.current,
        v2::Metrics::TYPE_URL => v2::Metrics::parse_from_bytes(&stats.value).unwrap().pids.current,
        other => panic!("{other}"),
    };
    assert_eq!(pids, 1);
    shim.kill("", 9).await.unwrap();
    shim.wait("").await;
    shim.delete("").await.unwrap();
    shim.shutdown().await;
}

/// With a criu that works on the kernel, or with its own words about why not.
#[tokio::test]
async fn a_checkpoint_is_taken_of_what_runs() {
    let daemon = Daemon::new().await;
    let shim = daemon.start("c1", "exec sleep 1000").await;
    shim.create(&shim.create_request(&daemon, "", "")).await;
    let images = shim.bundle.join("images");
    let request = |exit: bool| {
        let options = pack(&CheckpointOptions { exit, ..CheckpointOptions::default() }).unwrap();
        let path = images.display().to_string();
        CheckpointTaskRequest { id: "c1".into(), path, options: Some(options).into(), ..Default::default() }
    };
    let refusal = code(shim.task.checkpoint(quick(), &request(false)).await);
    assert_eq!(refusal, (Code::FAILED_PRECONDITION, "cannot checkpoint a task in created state".into()));
    shim.run("").await.unwrap();
    let taken = shim.task.checkpoint(quick(), &request(false)).await;
    assert_eq!(shim.state("").await.status.enum_value(), Ok(Status::RUNNING));
    assert!(!shim.bundle.join("criu-work").exists());
    if criu_works() {
        taken.unwrap();
        assert!(images.join("pstree.img").exists());
        shim.task.checkpoint(quick(), &request(true)).await.unwrap();
    } else {
        let (_, said) = code(taken);
        let log = shim.bundle.join("criu-dump.log");
        assert!(said.starts_with("OCI runtime checkpoint failed: criu failed: type DUMP"), "{said}");
        assert!(said.ends_with(&format!(" path= {}", log.display())) && log.exists(), "{said}");
        shim.kill("", 9).await.unwrap();
    }
    assert_eq!(shim.wait("").await, 137);
    shim.delete("").await.unwrap();
    shim.shutdown().await;
}

/// Does criu work with this kernel?
fn criu_works() -> bool {
    std::process::Command::new("criu").arg("check").output().is_ok_and(|output| output.status.success())
}

#[tokio::test]
async fn a_checkpoint_is_restored_with_its_streams() {
    if !criu_works() {
        eprintln!("skipped: criu does not work with this kernel");
        return;
    }
    for terminal in [false, true] {
        let daemon = Daemon::new().await;
        let script = "last=nothing; while read word; do echo $last then $word; last=$word; [ $word = end ] && exit 7; done";
        let reads = |config: &mut serde_json::Value| {
            config["process"]["terminal"] = json!(terminal);
            config["process"]["args"] = json!(["/bin/sh", "-c", script]);
        };
        let shim = daemon.start_with("c1", reads).await;
        let (_, socket, uri) = daemon.log("c1");
        let mut request = shim.create_request(&daemon, &format!("attach://{}", socket.display()), &uri);
        request.terminal = terminal;
        shim.create(&request).await;
        let mut client = Attached::to(&socket);
        shim.run("").await.unwrap();
        client.send(0, b"one\n").await;
        client.hears("nothing then one").await;
        let images = daemon.dir.path().join("images").display().to_string();
        let options = pack(&CheckpointOptions { exit: true, ..CheckpointOptions::default() }).unwrap();
        let options = Some(options).into();
        let write =
            CheckpointTaskRequest { id: "c1".into(), path: images.clone(), options, ..Default::default() };
        shim.task.checkpoint(quick(), &write).await.unwrap();
        assert_eq!(shim.wait("").await, 137);
        shim.delete("").await.unwrap();

        request.checkpoint = images;
        assert_eq!(shim.create(&request).await, 0);
        let mut client = Attached::to(&socket);
        let pid = shim.run("").await.unwrap().pid;
        let state = shim.state("").await;
        assert_eq!((state.status.enum_value(), state.pid), (Ok(Status::RUNNING), pid));
        client.send(0, b"two\n").await;
        client.hears("one then two").await;
        let size = ResizePtyRequest { id: "c1".into(), width: 93, height: 41, ..ResizePtyRequest::default() };
        shim.task.resize_pty(quick(), &size).await.unwrap();
        client.send(0, b"end\n").await;
        assert_eq!(shim.wait("").await, 7);
        let deleted = shim.delete("").await.unwrap();
        assert_eq!((deleted.pid, deleted.exit_status), (pid, 7));
        shim.shutdown().await;
    }
}

#[tokio::test]
async fn what_is_restored_has_no_process_before_its_start() {
    let daemon = Daemon::new().await;
    let shim = daemon.start("c1", "exec sleep 1000").await;
    let source = daemon.dir.path().join("source");
    fs::create_dir_all(source.join("marker")).unwrap();
    let images = daemon.dir.path().join("images");
    fs::create_dir(&images).unwrap();
    let mut request = shim.create_request(&daemon, "", "");
    request.rootfs = vec![bind(&source)];
    request.checkpoint = images.display().to_string();
    assert_eq!(shim.create(&request).await, 0);
    let created: TaskCreate = daemon.events.expect("/tasks/create").await;
    assert_eq!((created.checkpoint, created.pid), (request.checkpoint, 0));
    let state = shim.state("").await;
    assert_eq!((state.status.enum_value(), state.pid), (Ok(Status::CREATED), 0));
    assert!(shim.bundle.join("rootfs/marker").exists());
    let refused = |text: &str| (Code::FAILED_PRECONDITION, text.to_owned());
    assert_eq!(code(shim.exec("e", &["true"], "").await), refused("cannot exec in a created state"));
    // A client that ends what it deletes goes on when it is told this.
    assert_eq!(code(shim.kill("", 9).await), refused("process not created"));
    let (_, said) = code(shim.run("").await);
    assert!(said.starts_with("OCI runtime restore failed: ") && said.contains("descriptors.json"), "{said}");
    assert_eq!(shim.state("").await.status.enum_value(), Ok(Status::CREATED));
    // Its streams are used up.
    let (kind, said) = code(shim.run("").await);
    assert!(kind == Code::FAILED_PRECONDITION && said.contains("could not be restored before"), "{said}");
    let (ended, deleted) = tokio::join!(shim.wait(""), shim.delete(""));
    assert_eq!((ended, deleted.unwrap().pid), (255, 0));
    assert_eq!(daemon.events.next().await.0, "/tasks/delete");
    assert!(!shim.bundle.join("rootfs/marker").exists(), "still mounted");
    shim.shutdown().await;
}

#[tokio::test]
async fn running_out_of_memory_is_told() {
    let daemon = Daemon::new().await;
    let greedy = |config: &mut serde_json::Value| {
        config["linux"]["resources"] = json!({"memory": {"limit": 8 << 20}});
        // tail keeps a line without an end.
        config["process"]["args"] = json!(["/bin/sh", "-c", "tail /dev/zero"]);
    };
    let shim = daemon.start_with("c1", greedy).await;
    shim.create(&shim.create_request(&daemon, "", "")).await;
    shim.run("").await.unwrap();
    shim.wait("").await;
    // The executor's own part of the start may run out already: no order but with create is promised.
    assert_eq!(daemon.events.next().await.0, "/tasks/create");
    let oom = loop {
        let (_, event) = daemon.events.next().await;
        if let Some(oom) = unpack::<TaskOOM>(&event).unwrap() {
            break oom;
        }
    };
    assert_eq!(oom.container_id, "c1");
    shim.delete("").await.unwrap();
    shim.shutdown().await;
}

#[tokio::test]
async fn after_a_shim_that_was_killed_delete_cleans_up() {
    let daemon = Daemon::new().await;
    let shim = daemon.start("c1", "exec sleep 1000").await;
    let source = shim.bundle.join("source");
    fs::rename(shim.bundle.join("rootfs"), &source).unwrap();
    let mut request = shim.create_request(&daemon, "", "");
    request.rootfs = vec![bind(&source)];
    let pid = shim.create(&request).await;
    shim.run("").await.unwrap();
    sys::kill::kill(shim.pid(), 9).unwrap();
    gone(shim.pid()).await;
    let output = daemon.call("c1", &shim.bundle, "delete", b"");
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let response = DeleteResponse::parse_from_bytes(&output.stdout).unwrap();
    assert_eq!((response.pid, response.exit_status), (pid, 137));
    gone(pid).await;
    assert!(!shim.bundle.join("rootfs/bin").exists(), "still mounted");
    assert!(!shim.socket.exists());
    // Once more, with nothing left.
    assert!(daemon.call("c1", &shim.bundle, "delete", b"").status.success());
}

#[tokio::test]
async fn sigterm_ends_the_shim_and_delete_tells_the_recorded_exit() {
    let daemon = Daemon::new().await;
    let shim = daemon.start("c1", "exit 9").await;
    shim.create(&shim.create_request(&daemon, "", "")).await;
    shim.run("").await.unwrap();
    assert_eq!(shim.wait("").await, 9);
    sys::kill::kill(shim.pid(), 15).unwrap();
    gone(shim.pid()).await;
    assert!(!shim.socket.exists());
    let output = daemon.call("c1", &shim.bundle, "delete", b"");
    assert_eq!(DeleteResponse::parse_from_bytes(&output.stdout).unwrap().exit_status, 9);
}

#[tokio::test]
async fn a_pod_shares_one_shim() {
    let daemon = Daemon::new().await;
    let pod = |config: &mut serde_json::Value| {
        config["annotations"] = json!({"io.kubernetes.cri.sandbox-id": "pod"});
        config["process"]["args"] = json!(["/bin/sh", "-c", "exit 2"]);
    };
    let first: Shim = daemon.start_with("c1", pod).await;
    first.create(&first.create_request(&daemon, "", "")).await;
    let second = daemon.start_with("c2", pod).await;
    assert_eq!((second.socket.clone(), second.pid()), (first.socket.clone(), first.pid()));
    second.create(&second.create_request(&daemon, "", "")).await;
    for shim in [&second, &first] {
        shim.run("").await.unwrap();
        assert_eq!(shim.wait("").await, 2);
        shim.delete("").await.unwrap();
    }
    first.shutdown().await;
}

fn bind(source: &std::path::Path) -> Mount {
    Mount {
        type_: "bind".into(),
        source: source.to_str().unwrap().into(),
        options: vec!["rbind".into(), "rw".into()],
        ..Mount::default()
    }
}

fn make_fifo(daemon: &Daemon, name: &str) -> String {
    let path = daemon.dir.path().join(name);
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    path.to_str().unwrap().to_owned()
}
