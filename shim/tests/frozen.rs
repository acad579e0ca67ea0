//! Executors that die in the middle of freezing and thawing, under the real shim. Run as root.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on shall stop")]

mod harness;

use std::fs;

use harness::{Daemon, code, quick};
use proto_shim::options::Options;
use proto_shim::pack;
use proto_shim::task::v3::{PauseRequest, ResumeRequest};
use proto_shim::types::Status;

/// An executor dies after it has frozen, or thawed: the container can be killed all the same, and its state is told as it is.
#[tokio::test]
async fn executors_that_die_while_they_freeze_and_thaw() {
    let daemon = Daemon::new().await;
    let shim = daemon.start("c1", "exec sleep 1000").await;
    let script = daemon.dir.path().join("dying");
    let real = harness::executor();
    let text = format!(
        "#!/bin/sh\ncase \" $* \" in *\" $(cat $0.verb) \"*) echo none >$0.verb; {real} \"$@\"; kill -9 $$;; esac\nexec {real} \"$@\"\n"
    );
    programs::write(&script, &text).unwrap();
    let dies_at = |verb: &str| fs::write(daemon.dir.path().join("dying.verb"), verb).unwrap();
    dies_at("none");
    let options = Options { binary_name: script.display().to_string(), ..daemon.options() };
    let mut request = shim.create_request(&daemon, "", "");
    request.options = Some(pack(&options).unwrap()).into();
    shim.create(&request).await;
    shim.run("").await.unwrap();
    let pause = PauseRequest { id: "c1".into(), ..PauseRequest::default() };
    let resume = ResumeRequest { id: "c1".into(), ..ResumeRequest::default() };

    dies_at("pause");
    let (_, message) = code(shim.task.pause(quick(), &pause).await);
    assert!(message.contains("OCI runtime pause failed"), "{message}");
    assert_eq!(shim.state("").await.status.enum_value(), Ok(Status::RUNNING));
    shim.task.pause(quick(), &pause).await.unwrap();
    dies_at("resume");
    let (_, message) = code(shim.task.resume(quick(), &resume).await);
    assert!(message.contains("OCI runtime resume failed"), "{message}");
    assert_eq!(shim.state("").await.status.enum_value(), Ok(Status::RUNNING));
    dies_at("pause");
    assert!(shim.task.pause(quick(), &pause).await.is_err());
    shim.kill("", 9).await.unwrap();
    assert_eq!(shim.wait("").await, 137);
    shim.delete("").await.unwrap();
    shim.shutdown().await;
}
