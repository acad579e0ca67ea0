//! The service `Images`: one function a verb.

use std::sync::Arc;

use bytes::Bytes;
use flows::{Flows, ImageLine};
use ids::{Namespace, Reference};
use image::{Credentials, Platform, Progress, ProgressSink, PullOptions};
use proto_engine::v1;
use proto_engine::v1::images_server::Images;
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tonic::{Request, Response, Status, Streaming};

use crate::caller::{bad_request, namespace, status};
use crate::convert::timestamp;
use crate::names::Filters;
use crate::session::{Answers, answers};

/// Bytes of one message of an archive.
const CHUNK: usize = 256 << 10;
/// Messages of an upload that may wait for the unpacking.
const UPLOAD_QUEUE: usize = 8;

/// Images over gRPC.
pub struct Service {
    flows: Flows,
}

impl Service {
    /// The service over `flows`.
    pub fn new(flows: Flows) -> Service {
        Service { flows }
    }
}

#[tonic::async_trait]
impl Images for Service {
    type PullStream = Answers<v1::PullResponse>;
    type SaveStream = Answers<v1::SaveResponse>;
    type LoadStream = Answers<v1::LoadResponse>;

    async fn pull(&self, request: Request<v1::PullRequest>) -> Result<Response<Self::PullStream>, Status> {
        let namespace = namespace(request.metadata())?;
        let request = request.into_inner();
        let reference = Reference::parse(&request.reference).map_err(status)?;
        let options = pull_options(request)?;
        let flows = self.flows.clone();
        let (sender, answers) = answers();
        tokio::spawn(marks::carry(async move {
            use v1::pull_response::Response as Answer;
            let wrap = |answer| v1::PullResponse { response: Some(answer) };
            let progress = sink(sender.clone(), move |progress| wrap(Answer::Progress(progress)));
            let pulling = flows.pull(&namespace, &reference, options, progress);
            let pulled = tokio::select! {
                pulled = pulling => pulled,
                // Nobody waits for it any more: what has come so far is let go.
                () = sender.closed() => return,
            };
            let last = pulled
                .map_err(status)
                .map(|(image, up_to_date)| wrap(Answer::Image(pulled_image(image, up_to_date))));
            // The client may have gone by now.
            let _ = sender.send(last).await;
        }));
        Ok(Response::new(answers))
    }

    async fn list(
        &self,
        request: Request<v1::ListImagesRequest>,
    ) -> Result<Response<v1::ListImagesResponse>, Status> {
        let namespace = namespace(request.metadata())?;
        let filters = Filters::parse(&request.get_ref().filters, &["reference", "label"])?;
        let lines = self.flows.list_images(&namespace).await.map_err(status)?;
        let images = lines.into_iter().filter(|line| filters.image(line)).map(image_line).collect();
        Ok(Response::new(v1::ListImagesResponse { images }))
    }

    async fn inspect(
        &self,
        request: Request<v1::InspectImageRequest>,
    ) -> Result<Response<v1::InspectImageResponse>, Status> {
        let namespace = namespace(request.metadata())?;
        let object = self.flows.inspect_image(&namespace, &request.get_ref().image).await.map_err(status)?;
        Ok(Response::new(v1::InspectImageResponse { json: object.to_string().into_bytes() }))
    }

    async fn tag(&self, request: Request<v1::TagRequest>) -> Result<Response<v1::TagResponse>, Status> {
        let namespace = namespace(request.metadata())?;
        let request = request.into_inner();
        self.flows.tag(&namespace, &request.source, &request.target).await.map_err(status)?;
        Ok(Response::new(v1::TagResponse {}))
    }

    async fn remove(
        &self,
        request: Request<v1::RemoveImageRequest>,
    ) -> Result<Response<v1::RemoveImageResponse>, Status> {
        let namespace = namespace(request.metadata())?;
        let request = request.into_inner();
        let removed =
            self.flows.remove_image(&namespace, &request.image, request.force).await.map_err(status)?;
        Ok(Response::new(v1::RemoveImageResponse { untagged: removed.untagged, deleted: removed.deleted }))
    }

    async fn save(&self, request: Request<v1::SaveRequest>) -> Result<Response<Self::SaveStream>, Status> {
        let namespace = namespace(request.metadata())?;
        let request = request.into_inner();
        if request.images.is_empty() {
            return Err(bad_request("name at least one image to save"));
        }
        for text in &request.images {
            self.flows.find_image(&namespace, text).await.map_err(status)?;
        }
        let platform = platform(&request.platform)?;
        let flows = self.flows.clone();
        let (sender, answers) = answers();
        tokio::spawn(marks::carry(save(flows, namespace, request.images, platform, sender)));
        Ok(Response::new(answers))
    }

    async fn load(
        &self,
        request: Request<Streaming<v1::LoadRequest>>,
    ) -> Result<Response<Self::LoadStream>, Status> {
        let namespace = namespace(request.metadata())?;
        let mut requests = request.into_inner();
        let start = match requests.message().await?.and_then(|first| first.request) {
            Some(v1::load_request::Request::Start(start)) => start,
            _ => return Err(bad_request("the first request of Load must be start")),
        };
        let platform = platform(&start.platform)?;
        let flows = self.flows.clone();
        let (sender, answers) = answers();
        tokio::spawn(marks::carry(load(flows, namespace, requests, platform, sender)));
        Ok(Response::new(answers))
    }
}

async fn save(
    flows: Flows,
    namespace: Namespace,
    images: Vec<String>,
    platform: Option<Platform>,
    sender: mpsc::Sender<Result<v1::SaveResponse, Status>>,
) {
    let (mut reader, writer) = tokio::io::duplex(CHUNK);
    let saving =
        tokio::spawn(marks::carry(async move { flows.save(&namespace, &images, platform, writer).await }));
    let mut buffer = vec![0; CHUNK];
    loop {
        match reader.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(length) => {
                let message = v1::SaveResponse { data: buffer[..length].to_vec() };
                if sender.send(Ok(message)).await.is_err() {
                    // Dropping the reader ends the export.
                    return;
                }
            }
        }
    }
    let failed = match saving.await {
        Ok(Ok(())) => return,
        Ok(Err(error)) => status(error),
        Err(error) => Status::internal(error.to_string()),
    };
    let _ = sender.send(Err(failed)).await;
}

async fn load(
    flows: Flows,
    namespace: Namespace,
    mut requests: Streaming<v1::LoadRequest>,
    platform: Option<Platform>,
    sender: mpsc::Sender<Result<v1::LoadResponse, Status>>,
) {
    use v1::load_response::Response as Answer;
    let wrap = |answer| v1::LoadResponse { response: Some(answer) };
    let (writer, reader) = image::pipe(UPLOAD_QUEUE);
    tokio::spawn(async move {
        loop {
            match requests.message().await {
                Ok(Some(v1::LoadRequest { request: Some(v1::load_request::Request::Data(data)) })) => {
                    if !writer.write(Bytes::from(data)).await {
                        return;
                    }
                }
                Ok(Some(_)) => {}
                Ok(None) => return writer.finish().await,
                Err(error) => return writer.fail(std::io::Error::other(error.to_string())).await,
            }
        }
    });
    let progress = sink(sender.clone(), move |progress| wrap(Answer::Progress(progress)));
    match flows.load(&namespace, reader, platform, progress).await {
        Ok(images) => {
            for image in images {
                if sender.send(Ok(wrap(Answer::Image(pulled_image(image, false))))).await.is_err() {
                    return;
                }
            }
        }
        Err(error) => {
            let _ = sender.send(Err(status(error))).await;
        }
    }
}

/// Progress that a slow client cannot take is left out: the next one says as much.
fn sink<T: Send + 'static>(
    sender: mpsc::Sender<Result<T, Status>>,
    wrap: impl Fn(v1::Progress) -> T + Send + Sync + 'static,
) -> ProgressSink {
    Arc::new(move |progress: Progress| {
        let message = v1::Progress {
            id: progress.id,
            status: progress.status,
            offset: progress.offset,
            total: progress.total,
            media_type: progress.media_type,
        };
        let _ = sender.try_send(Ok(wrap(message)));
    })
}

fn pull_options(request: v1::PullRequest) -> Result<PullOptions, Status> {
    Ok(PullOptions {
        platform: platform(&request.platform)?,
        all_platforms: request.all_platforms,
        plain_http: request.plain_http,
        insecure: request.insecure,
        credentials: request
            .credentials
            .map(|credentials| Credentials { username: credentials.username, secret: credentials.secret }),
        ..PullOptions::default()
    })
}

fn platform(text: &str) -> Result<Option<Platform>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    Platform::parse(text).map(Some).map_err(status)
}

fn pulled_image(image: image::Image, up_to_date: bool) -> v1::PulledImage {
    v1::PulledImage { name: image.name, digest: image.target.digest.to_string(), up_to_date }
}

fn image_line(line: ImageLine) -> v1::Image {
    let reference = Reference::parse(&line.image.name).ok();
    let created = time::OffsetDateTime::parse(&line.created, &time::format_description::well_known::Rfc3339);
    v1::Image {
        repository: reference.as_ref().map_or_else(|| line.image.name.clone(), Reference::familiar_name),
        tag: reference.as_ref().and_then(|name| name.tag()).unwrap_or_default().to_owned(),
        name: line.image.name,
        digest: line.image.target.digest.to_string(),
        id: line.id.to_string(),
        created: Some(timestamp(created.map_or(line.image.created_at, std::time::SystemTime::from))),
        size: line.size,
        labels: line.labels.into_iter().collect(),
    }
}
