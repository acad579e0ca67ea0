//! Ingests: written, resumed, refused, aborted.

use super::*;

#[tokio::test]
async fn resumes_where_it_stopped() {
    let fixture = Fixture::new();
    let ns = namespace("default");
    let mut writer = fixture.content.writer(&ns, "layer-1", 11, None).await.unwrap();
    writer.write(0, "hello ".into()).await.unwrap();
    let before = writer.status();
    drop(writer);

    let mut writer = fixture.content.writer(&ns, "layer-1", 11, None).await.unwrap();
    let status = writer.status();
    assert_eq!((status.offset, status.total, status.started_at), (6, 11, before.started_at));
    assert_eq!(status.updated_at, before.updated_at, "it is as old as when its writer went");
    assert_eq!(writer.digest().await.unwrap(), digest("hello "));
    writer.write(6, "world".into()).await.unwrap();
    let info = writer.commit(11, Some(&digest("hello world")), labels(&[("a", "b")])).await.unwrap();
    assert_eq!(info.labels, labels(&[("a", "b")]));
    assert_eq!(kind(fixture.content.status(&ns, "layer-1")), Kind::NotFound);
}

#[tokio::test]
async fn an_offset_must_be_where_it_stands_or_at_the_beginning() {
    let fixture = Fixture::new();
    let ns = namespace("default");
    let mut writer = fixture.content.writer(&ns, "r", 0, None).await.unwrap();
    writer.write(0, "abc".into()).await.unwrap();
    for offset in [1, 4] {
        assert_eq!(kind(writer.write(offset, "x".into()).await), Kind::OutOfRange);
    }
    writer.write(3, "def".into()).await.unwrap();
    writer.write(0, "anew".into()).await.unwrap();
    assert_eq!(writer.status().offset, 4);
    writer.commit(4, Some(&digest("anew")), Labels::new()).await.unwrap();
}

#[tokio::test]
async fn one_writer_a_reference_and_namespaces_do_not_meet() {
    let fixture = Fixture::new();
    let (ns, other) = (namespace("default"), namespace("other"));
    let writer = fixture.content.writer(&ns, "r", 0, None).await.unwrap();
    let error = fixture.content.writer(&ns, "r", 0, None).await.err().unwrap();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(error.chain().starts_with("ref r locked for "), "{}", error.chain());
    fixture.content.writer(&other, "r", 0, None).await.unwrap();
    assert_eq!(kind(fixture.content.abort(&ns, "r").await), Kind::Unavailable);
    drop(writer);
    fixture.content.writer(&ns, "r", 0, None).await.unwrap();
}

#[tokio::test]
async fn wrong_digest_or_size_is_a_failed_precondition_and_the_ingest_stays() {
    let fixture = Fixture::new();
    let ns = namespace("default");
    let write = async || {
        let mut writer = fixture.content.writer(&ns, "r", 0, None).await.unwrap();
        writer.write(0, "data".into()).await.unwrap();
        writer
    };
    let error = write().await.commit(0, Some(&digest("other")), Labels::new()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::FailedPrecondition);
    let words = format!("unexpected commit digest {}, expected {}", digest("data"), digest("other"));
    assert!(error.chain().starts_with(&words), "{}", error.chain());

    let error = write().await.commit(5, None, Labels::new()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::FailedPrecondition);
    assert!(error.chain().starts_with("unexpected commit size 4, expected 5"), "{}", error.chain());

    assert_eq!(fixture.content.status(&ns, "r").unwrap().offset, 4);
    assert!(fixture.content.all().unwrap().is_empty());
}

#[tokio::test]
async fn a_known_digest_aborts_the_ingest() {
    let fixture = Fixture::new();
    let ns = namespace("default");
    let mut writer = fixture.content.writer(&ns, "r", 0, Some(digest("data"))).await.unwrap();
    writer.write(0, "da".into()).await.unwrap();
    assert_eq!(writer.status().expected, Some(digest("data")));
    drop(writer);
    fixture.write(&ns, "other", "data").await.unwrap();

    let error = fixture.content.writer(&ns, "r", 0, Some(digest("data"))).await.err().unwrap();
    assert_eq!(error.kind(), Kind::AlreadyExists);
    assert_eq!(error.chain(), format!("content {}: already exists", digest("data")));
    assert_eq!(fixture.ingest_folders(), 0);

    // One that finds out only at the end is gone too.
    let again = fixture.write(&ns, "third", "data").await;
    assert_eq!(kind(again), Kind::AlreadyExists);
    assert_eq!(fixture.ingest_folders(), 0);
}

#[tokio::test]
async fn statuses_are_listed_filtered_and_aborted() {
    let fixture = Fixture::new();
    let (ns, other) = (namespace("default"), namespace("other"));
    for reference in ["a/b", "c"] {
        let mut writer = fixture.content.writer(&ns, reference, 10, None).await.unwrap();
        writer.write(0, "xyz".into()).await.unwrap();
    }
    fixture.content.writer(&other, "elsewhere", 0, None).await.unwrap();
    let references = |filters: &[&str]| {
        let filters: Vec<String> = filters.iter().map(|filter| (*filter).to_owned()).collect();
        let statuses = fixture.content.statuses(&ns, &filters).unwrap();
        statuses.into_iter().map(|status| status.reference).collect::<Vec<_>>()
    };
    assert_eq!(references(&[]), ["a/b", "c"]);
    assert_eq!(references(&["ref==c"]), ["c"]);
    let status = fixture.content.status(&ns, "a/b").unwrap();
    assert_eq!((status.offset, status.total), (3, 10));
    let hours = status.expires_at.duration_since(std::time::SystemTime::now()).unwrap().as_secs() / 3600;
    assert_eq!(hours, 23);

    fixture.content.abort(&ns, "a/b").await.unwrap();
    assert_eq!(references(&[]), ["c"]);
    assert_eq!(kind(fixture.content.abort(&ns, "a/b").await), Kind::NotFound);
    assert_eq!(fixture.content.ingests().unwrap().len(), 2);
}

#[tokio::test]
async fn bad_references_are_refused() {
    let fixture = Fixture::new();
    let ns = namespace("default");
    for bad in [String::new(), "x".repeat(4097)] {
        assert_eq!(kind(fixture.content.writer(&ns, &bad, 0, None).await), Kind::InvalidArgument);
        assert_eq!(kind(fixture.content.status(&ns, &bad)), Kind::InvalidArgument);
    }
    // A reference is a name, not a path.
    let mut writer = fixture.content.writer(&ns, "../../../etc/passwd\n\0", 0, None).await.unwrap();
    writer.write(0, "x".into()).await.unwrap();
    drop(writer);
    assert_eq!(fixture.content.status(&ns, "../../../etc/passwd\n\0").unwrap().offset, 1);
}

#[tokio::test]
async fn sha512_is_as_good() {
    let fixture = Fixture::new();
    let ns = namespace("default");
    let mut hasher = Hasher::new(ids::Algorithm::Sha512);
    hasher.update(b"data");
    let digest = hasher.digest().unwrap();
    // Told at the beginning, and only at the end.
    for expected in [Some(digest.clone()), None] {
        let mut writer = fixture.content.writer(&ns, "r", 0, expected).await.unwrap();
        writer.write(0, "data".into()).await.unwrap();
        let info = writer.commit(4, Some(&digest), Labels::new()).await.unwrap();
        assert_eq!(info.digest, digest);
        assert_eq!(fixture.content.read(&ns, &digest, 4).await.unwrap(), "data");
        fixture.content.delete(&ns, &digest).await.unwrap();
    }
}

#[tokio::test]
async fn an_empty_blob_is_one() {
    let fixture = Fixture::new();
    let ns = namespace("default");
    let writer = fixture.content.writer(&ns, "r", 0, None).await.unwrap();
    let info = writer.commit(0, Some(&digest("")), Labels::new()).await.unwrap();
    assert_eq!(info.size, 0);
    assert_eq!(fixture.content.read(&ns, &info.digest, 0).await.unwrap(), "");
}
