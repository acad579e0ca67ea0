//! Image names.

use proto_containerd::services::images::images_client::ImagesClient;
use proto_containerd::services::images::*;
use proto_containerd::types::Descriptor;
use tonic::Code;
use tonic::transport::Channel;

use crate::daemon::{Daemon, asked, held, lease, leased};

fn client(daemon: &Daemon) -> ImagesClient<Channel> {
    ImagesClient::new(daemon.channel.clone())
}

fn image(name: &str) -> Image {
    Image {
        name: name.into(),
        target: Some(Descriptor {
            media_type: "application/vnd.oci.image.index.v1+json".into(),
            digest: format!("sha256:{}", "1".repeat(64)),
            size: 7,
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn create(name: &str) -> CreateImageRequest {
    CreateImageRequest { image: Some(image(name)), ..Default::default() }
}

#[tokio::test]
async fn names_are_made_changed_and_deleted() {
    let daemon = Daemon::start().await;
    let mut images = client(&daemon);
    let made = images.create(asked(create("a"))).await.unwrap().into_inner().image.unwrap();
    assert_eq!(made.target, image("a").target);
    assert!(made.created_at.unwrap().seconds > 0);
    assert_eq!(images.create(asked(create("a"))).await.unwrap_err().code(), Code::AlreadyExists);

    // Clients leave out what the mask does not name.
    let labelled =
        Image { name: "a".into(), labels: [("k".to_owned(), "v".to_owned())].into(), ..Default::default() };
    let mask = prost_types::FieldMask { paths: vec!["labels.k".into()] };
    let request = UpdateImageRequest { image: Some(labelled), update_mask: Some(mask), ..Default::default() };
    let updated = images.update(asked(request)).await.unwrap().into_inner().image.unwrap();
    assert_eq!(updated.target, made.target);
    let request = ListImagesRequest { filters: vec!["name==a,labels.k==v".into()] };
    assert_eq!(images.list(asked(request)).await.unwrap().into_inner().images.len(), 1);

    let other = Descriptor { digest: format!("sha256:{}", "2".repeat(64)), ..Default::default() };
    let request = DeleteImageRequest { name: "a".into(), target: Some(other), ..Default::default() };
    assert!(images.delete(asked(request)).await.is_err());
    let request = DeleteImageRequest { name: "a".into(), sync: true, target: image("a").target };
    images.delete(asked(request)).await.unwrap();
    let status = images.get(asked(GetImageRequest { name: "a".into() })).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert!(status.message().contains("image \"a\": not found"), "{status}");
}

#[tokio::test]
async fn bad_images_are_refused() {
    let daemon = Daemon::start().await;
    let mut images = client(&daemon);
    let status = images.create(asked(create(""))).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::InvalidArgument, "Image.Name required"));
    let mut empty = create("a");
    empty.image.as_mut().unwrap().target.as_mut().unwrap().size = 0;
    assert_eq!(images.create(asked(empty)).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn only_images_that_expire_are_leased() {
    let daemon = Daemon::start().await;
    lease(&daemon, "l").await;
    let mut images = client(&daemon);
    images.create(leased(create("lasting"), "l")).await.unwrap();
    assert!(held(&daemon, "l").is_empty());
    let mut expiring = create("expiring");
    let labels = &mut expiring.image.as_mut().unwrap().labels;
    labels.insert("containerd.io/gc.expire".into(), "2100-01-01T00:00:00Z".into());
    images.create(leased(expiring, "l")).await.unwrap();
    assert_eq!(held(&daemon, "l"), ["images expiring"]);
}

#[tokio::test]
async fn time_of_the_source_stands_in_for_now() {
    let daemon = Daemon::start().await;
    let epoch = prost_types::Timestamp { seconds: 1_000_000_000, nanos: 0 };
    let request = CreateImageRequest { source_date_epoch: Some(epoch), ..create("a") };
    let made = client(&daemon).create(asked(request)).await.unwrap().into_inner().image.unwrap();
    assert_eq!((made.created_at, made.updated_at), (Some(epoch), Some(epoch)));
}
