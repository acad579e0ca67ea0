//! Against whatever runc-compatible executor is named by `RUNC`, or `runc` of this machine.

use std::path::PathBuf;

use runc_client::{KillOptions, Kind, Runc};

fn runc(dir: &tempfile::TempDir) -> Runc {
    let binary = std::env::var_os("RUNC").map_or_else(|| PathBuf::from("runc"), PathBuf::from);
    Runc::new(binary).root(dir.path().join("root")).log(dir.path().join("log.json"))
}

#[tokio::test]
async fn an_unknown_container_is_not_found() {
    let dir = tempfile::tempdir().unwrap();
    let runc = runc(&dir);
    let error = runc.state("nope").await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound, "{error:?}");
    assert!(error.message().contains("does not exist"), "{error:?}");
    let error = runc.kill("nope", 9, KillOptions { all: true }).await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound, "{error:?}");
    let error = runc.delete("nope", false).await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound, "{error:?}");
}

#[tokio::test]
async fn a_bundle_without_a_spec_is_refused_in_the_executors_words() {
    let dir = tempfile::tempdir().unwrap();
    let error = runc(&dir).create("c1", dir.path(), Default::default()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Failed, "{error:?}");
    assert!(error.message().contains("config.json"), "{error:?}");
}

#[tokio::test]
async fn features_are_json() {
    let dir = tempfile::tempdir().unwrap();
    let features = runc(&dir).features().await.unwrap();
    assert!(features.get().contains("ociVersionMin"), "{}", features.get());
}
