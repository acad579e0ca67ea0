//! Committed blobs: read, listed, labelled, deleted, shared.

use super::*;

#[tokio::test]
async fn a_blob_is_read_by_ranges_and_is_read_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let fixture = Fixture::new();
    let ns = namespace("default");
    let info = fixture.write(&ns, "r", "hello world").await.unwrap();
    assert_eq!((info.size, &info.digest), (11, &digest("hello world")));
    assert_eq!(fixture.content.info(&ns, &info.digest).unwrap(), info);

    let blob = fixture.content.open_blob(&ns, &info.digest).unwrap();
    assert_eq!(blob.size(), 11);
    assert_eq!(blob.read_at(6, 100).await.unwrap(), "world");
    assert_eq!(blob.read_at(2, 3).await.unwrap(), "llo");
    assert_eq!(blob.read_at(11, 1).await.unwrap(), "");
    assert_eq!(kind(blob.read_at(12, 1).await), Kind::OutOfRange);
    assert_eq!(std::io::read_to_string(blob.into_std().unwrap()).unwrap(), "hello world");

    let mode = std::fs::metadata(fixture.path(&info.digest)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o444);
    assert_eq!(fixture.ingest_folders(), 0);
}

#[tokio::test]
async fn a_whole_read_is_bounded() {
    let fixture = Fixture::new();
    let ns = namespace("default");
    let digest = fixture.content.put(&ns, "12345".into(), Labels::new()).await.unwrap();
    assert_eq!(fixture.content.read(&ns, &digest, 5).await.unwrap(), "12345");
    assert_eq!(kind(fixture.content.read(&ns, &digest, 4).await), Kind::ResourceExhausted);
}

#[tokio::test]
async fn what_is_missing_is_not_found_in_containerds_words() {
    let fixture = Fixture::new();
    let ns = namespace("default");
    let error = fixture.content.info(&ns, &digest("x")).unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    assert_eq!(error.chain(), format!("content digest {}: not found", digest("x")));
    assert_eq!(kind(fixture.content.delete(&ns, &digest("x")).await), Kind::NotFound);
    assert_eq!(kind(fixture.content.open_blob(&ns, &digest("x"))), Kind::NotFound);
    assert_eq!(kind(fixture.content.update(&ns, &digest("x"), Labels::new(), &[]).await), Kind::NotFound);
}

#[tokio::test]
async fn labels_change_by_mask_and_an_empty_value_deletes() {
    let fixture = Fixture::new();
    let ns = namespace("default");
    let content = &fixture.content;
    let digest = content.put(&ns, "x".into(), labels(&[("a", "1"), ("b", "2")])).await.unwrap();
    let mask = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>();

    let info =
        content.update(&ns, &digest, labels(&[("b", "3"), ("c", "4")]), &mask(&["labels.b"])).await.unwrap();
    assert_eq!(info.labels, labels(&[("a", "1"), ("b", "3")]));
    let info = content.update(&ns, &digest, labels(&[]), &mask(&["labels.a"])).await.unwrap();
    assert_eq!(info.labels, labels(&[("b", "3")]));
    let info = content.update(&ns, &digest, labels(&[("z", "9"), ("y", "")]), &[]).await.unwrap();
    assert_eq!(info.labels, labels(&[("z", "9")]));
    assert_eq!(
        kind(content.update(&ns, &digest, labels(&[]), &mask(&["size"])).await),
        Kind::InvalidArgument
    );
    let long = labels(&[("k", &"v".repeat(4096))]);
    assert_eq!(kind(content.update(&ns, &digest, long, &[]).await), Kind::InvalidArgument);
    assert_eq!(content.info(&ns, &digest).unwrap().labels, labels(&[("z", "9")]));

    content.put(&ns, "x".into(), labels(&[("new", "1")])).await.unwrap();
    assert_eq!(content.info(&ns, &digest).unwrap().labels, labels(&[("new", "1"), ("z", "9")]));
}

#[tokio::test]
async fn lists_what_filters_let_through_and_nothing_of_other_namespaces() {
    let fixture = Fixture::new();
    let (ns, other) = (namespace("one"), namespace("two"));
    for (data, label) in [("a", "x"), ("bb", "y"), ("ccc", "x")] {
        fixture.content.put(&ns, data.into(), labels(&[("k", label)])).await.unwrap();
    }
    fixture.content.put(&other, "dddd".into(), Labels::new()).await.unwrap();
    let sizes = |filters: &[&str]| {
        let filters: Vec<String> = filters.iter().map(|filter| (*filter).to_owned()).collect();
        let mut sizes: Vec<u64> =
            fixture.content.list(&ns, &filters).unwrap().iter().map(|info| info.size).collect();
        sizes.sort();
        sizes
    };
    assert_eq!(sizes(&[]), [1, 2, 3]);
    assert_eq!(sizes(&["labels.k==x"]), [1, 3]);
    assert_eq!(sizes(&["labels.k==x,size==3"]), [3]);
    assert_eq!(sizes(&["size==2", "size==1"]), [1, 2]);
    assert_eq!(sizes(&[&format!("digest=={}", digest("a"))]), [1]);
    assert!(fixture.content.list(&ns, &["==".to_owned()]).is_err());
    assert_eq!(fixture.content.all().unwrap().len(), 4);
}

#[tokio::test]
async fn namespaces_share_files_and_the_last_one_takes_it_along() {
    let fixture = Fixture::new();
    let (one, two) = (namespace("one"), namespace("two"));
    let info = fixture.write(&one, "r", "shared").await.unwrap();
    assert_eq!(kind(fixture.content.info(&two, &info.digest)), Kind::NotFound);

    // Who is wrong about the size has something else in mind.
    fixture.content.writer(&two, "wrong", 7, Some(info.digest.clone())).await.unwrap();
    // Who knows the digest gets the content without sending it.
    let taken = fixture.content.writer(&two, "r", 0, Some(info.digest.clone())).await;
    assert_eq!(kind(taken), Kind::AlreadyExists);
    assert_eq!(fixture.content.info(&two, &info.digest).unwrap().size, 6);

    fixture.content.delete(&one, &info.digest).await.unwrap();
    assert!(fixture.path(&info.digest).exists());
    assert_eq!(fixture.content.read(&two, &info.digest, 10).await.unwrap(), "shared");
    fixture.content.delete(&two, &info.digest).await.unwrap();
    assert!(!fixture.path(&info.digest).exists());
}

#[tokio::test]
async fn changes_are_told() {
    let fixture = Fixture::new();
    let mut listening = fixture.events.subscribe(filters::Filters::default());
    let ns = namespace("default");
    let info = fixture.write(&ns, "r", "x").await.unwrap();
    fixture.content.delete(&ns, &info.digest).await.unwrap();
    for topic in ["/content/create", "/content/delete"] {
        let event = listening.next().await.unwrap().unwrap();
        assert_eq!((event.topic.as_str(), &event.namespace), (topic, &ns));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_at_once_put_delete_and_read_one_blob() {
    let fixture = Fixture::new();
    let tasks: Vec<_> = (0..16)
        .map(|number| {
            let content = fixture.content.clone();
            tokio::spawn(async move {
                let ns = namespace(&format!("n{}", number % 4));
                for _ in 0..10 {
                    let digest = content.put(&ns, "contended".into(), Labels::new()).await.unwrap();
                    match content.read(&ns, &digest, 100).await {
                        Ok(bytes) => assert_eq!(bytes, "contended"),
                        // Another task of this namespace deleted the record, or did so between record and file.
                        Err(error) => {
                            assert!(matches!(error.kind(), Kind::NotFound | Kind::DataLoss), "{error:?}")
                        }
                    }
                    match content.delete(&ns, &digest).await {
                        Ok(()) => {}
                        Err(error) => assert_eq!(error.kind(), Kind::NotFound),
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    // Whatever is recorded at the end has its file, and the other way round.
    let recorded = fixture.content.all().unwrap();
    assert_eq!(!recorded.is_empty(), fixture.path(&digest("contended")).exists());
    for (ns, info) in recorded {
        assert_eq!(fixture.content.read(&ns, &info.digest, 100).await.unwrap(), "contended");
    }
}
