//! What a new start finds, also after an untimely end of the last.

use super::*;

#[tokio::test]
async fn blobs_and_ingests_are_found_again() {
    let fixture = Fixture::new();
    let ns = namespace("default");
    let info = fixture.write(&ns, "r", "kept").await.unwrap();
    let mut writer = fixture.content.writer(&ns, "half", 9, None).await.unwrap();
    writer.write(0, "half".into()).await.unwrap();
    drop(writer);

    let fixture = fixture.reopen();
    assert_eq!(fixture.content.info(&ns, &info.digest).unwrap(), info);
    let writer = fixture.content.writer(&ns, "half", 9, None).await.unwrap();
    assert_eq!(writer.status().offset, 4);
}

#[tokio::test]
async fn a_file_without_record_is_removed() {
    let fixture = Fixture::new();
    let ns = namespace("default");
    let kept = fixture.write(&ns, "r", "kept").await.unwrap();
    let orphan = fixture.path(&digest("orphan"));
    std::fs::write(&orphan, "orphan").unwrap();
    let foreign = orphan.with_file_name("notes.txt");
    std::fs::write(&foreign, "of the administrator").unwrap();
    assert_eq!(kind(fixture.content.info(&ns, &digest("orphan"))), Kind::NotFound);

    let fixture = fixture.reopen();
    assert!(!orphan.exists());
    assert!(foreign.exists());
    assert!(fixture.path(&kept.digest).exists());
}

#[tokio::test]
async fn a_file_that_could_not_be_removed_is_removed_later() {
    let fixture = Fixture::new();
    let ns = namespace("default");
    let info = fixture.write(&ns, "r", "stubborn").await.unwrap();
    let path = fixture.path(&info.digest);
    // What is no file cannot be removed as one.
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    fixture.content.delete(&ns, &info.digest).await.unwrap();
    assert!(fixture.content.has_unremoved());
    fixture.content.remove_unremoved().await;
    assert!(fixture.content.has_unremoved());

    std::fs::remove_dir(&path).unwrap();
    std::fs::write(&path, "stubborn").unwrap();
    fixture.content.remove_unremoved().await;
    assert!(!fixture.content.has_unremoved());
    assert!(!path.exists());
}

#[tokio::test]
async fn a_blob_that_was_written_again_keeps_its_file() {
    let fixture = Fixture::new();
    let ns = namespace("default");
    let info = fixture.write(&ns, "r", "wanted again").await.unwrap();
    let path = fixture.path(&info.digest);
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    fixture.content.delete(&ns, &info.digest).await.unwrap();
    std::fs::remove_dir(&path).unwrap();
    fixture.write(&ns, "r", "wanted again").await.unwrap();
    fixture.content.remove_unremoved().await;
    assert!(!fixture.content.has_unremoved());
    assert_eq!(fixture.content.read(&ns, &info.digest, 12).await.unwrap(), "wanted again");
}

#[tokio::test]
async fn damage_is_told_and_repaired_by_writing_again() {
    for damage in [
        |path: &PathBuf| std::fs::remove_file(path).unwrap(),
        |path: &PathBuf| {
            std::fs::remove_file(path).unwrap();
            std::fs::write(path, "sho").unwrap();
        },
    ] {
        let fixture = Fixture::new();
        let ns = namespace("default");
        let info = fixture.write(&ns, "r", "short").await.unwrap();
        damage(&fixture.path(&info.digest));

        let fixture = fixture.reopen();
        let error = fixture.content.open_blob(&ns, &info.digest).unwrap_err();
        assert_eq!(error.kind(), Kind::DataLoss);
        assert!(error.chain().contains(&info.digest.to_string()), "{}", error.chain());

        let mut writer = fixture.content.writer(&ns, "r", 5, Some(info.digest.clone())).await.unwrap();
        writer.write(0, "short".into()).await.unwrap();
        writer.commit(5, Some(&info.digest), Labels::new()).await.unwrap();
        assert_eq!(fixture.content.read(&ns, &info.digest, 5).await.unwrap(), "short");
    }
}

#[tokio::test]
async fn a_torn_ingest_starts_anew() {
    let fixture = Fixture::new();
    let ns = namespace("default");
    let mut writer = fixture.content.writer(&ns, "r", 0, None).await.unwrap();
    writer.write(0, "lost".into()).await.unwrap();
    drop(writer);
    let folder = fixture.content.layout().ingest(&ns, "r");
    std::fs::remove_file(folder.join("startedat")).unwrap();

    let writer = fixture.content.writer(&ns, "r", 0, None).await.unwrap();
    assert_eq!(writer.status().offset, 0);
    drop(writer);
    std::fs::remove_file(folder.join("ref")).unwrap();
    let fixture = fixture.reopen();
    assert_eq!(fixture.ingest_folders(), 0);
}

#[tokio::test]
async fn another_total_starts_anew() {
    let fixture = Fixture::new();
    let ns = namespace("default");
    let mut writer = fixture.content.writer(&ns, "r", 10, None).await.unwrap();
    writer.write(0, "xxx".into()).await.unwrap();
    drop(writer);
    let writer = fixture.content.writer(&ns, "r", 20, None).await.unwrap();
    assert_eq!((writer.status().offset, writer.status().total), (0, 20));
}
