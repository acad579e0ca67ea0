//! `containerd.services.images.v1.Images`.

use std::time::SystemTime;

use flows::Rooms;
use gc::Collector;
use ids::Digest;
use image::{Image, Names};
use lease::Leases;
use proto_containerd::services::images as wire;
use proto_containerd::services::images::images_server::Images;
use proto_containerd::types;
use tonic::{Request, Response, Status};

use crate::caller::Caller;
use crate::convert::{descriptor_from_wire, descriptor_to_wire, mask_paths, system_time, timestamp};
use crate::status::{invalid, refuse, required};

/// An image with this label ends by itself, so only such a one needs a lease.
const EXPIRES: &str = "containerd.io/gc.expire";

pub(crate) struct ImagesService {
    names: Names,
    leases: Leases,
    collector: Collector,
}

impl ImagesService {
    pub(crate) fn new(rooms: &Rooms) -> ImagesService {
        ImagesService {
            names: rooms.names.clone(),
            leases: rooms.leases.clone(),
            collector: rooms.collector.clone(),
        }
    }

    /// Clients leave out the target when the mask does not name it.
    fn complete(
        &self,
        caller: &Caller,
        image: Option<&mut wire::Image>,
        mask: &[String],
    ) -> Result<(), Status> {
        let Some(image) = image else { return Ok(()) };
        if mask.is_empty() || mask.iter().any(|path| path == "target") {
            return Ok(());
        }
        let known = self.names.get(&caller.namespace, &image.name).map_err(refuse)?;
        let annotations = image.target.take().unwrap_or_default().annotations;
        image.target = Some(types::Descriptor { annotations, ..descriptor_to_wire(known.target) });
        Ok(())
    }

    async fn hold(&self, caller: &Caller, image: &Image) -> Result<(), Status> {
        if !image.labels.contains_key(EXPIRES) {
            return Ok(());
        }
        caller.hold(&self.leases, "images", &image.name).await.map_err(refuse)
    }
}

#[tonic::async_trait]
impl Images for ImagesService {
    async fn get(
        &self,
        request: Request<wire::GetImageRequest>,
    ) -> Result<Response<wire::GetImageResponse>, Status> {
        let caller = Caller::of(&request)?;
        let image = self.names.get(&caller.namespace, &request.into_inner().name).map_err(refuse)?;
        Ok(Response::new(wire::GetImageResponse { image: Some(to_wire(image)) }))
    }

    async fn list(
        &self,
        request: Request<wire::ListImagesRequest>,
    ) -> Result<Response<wire::ListImagesResponse>, Status> {
        let caller = Caller::of(&request)?;
        let images = self.names.list(&caller.namespace, &request.into_inner().filters).map_err(refuse)?;
        Ok(Response::new(wire::ListImagesResponse { images: images.into_iter().map(to_wire).collect() }))
    }

    async fn create(
        &self,
        request: Request<wire::CreateImageRequest>,
    ) -> Result<Response<wire::CreateImageResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let (image, at) = from_wire(request.image, request.source_date_epoch)?;
        self.hold(&caller, &image).await?;
        let image = self.names.create_at(&caller.namespace, image, at).await.map_err(refuse)?;
        Ok(Response::new(wire::CreateImageResponse { image: Some(to_wire(image)) }))
    }

    async fn update(
        &self,
        request: Request<wire::UpdateImageRequest>,
    ) -> Result<Response<wire::UpdateImageResponse>, Status> {
        let caller = Caller::of(&request)?;
        let mut request = request.into_inner();
        let mask = mask_paths(request.update_mask.take());
        self.complete(&caller, request.image.as_mut(), &mask)?;
        let (image, at) = from_wire(request.image, request.source_date_epoch)?;
        self.hold(&caller, &image).await?;
        let image = self.names.update_at(&caller.namespace, image, &mask, at).await.map_err(refuse)?;
        Ok(Response::new(wire::UpdateImageResponse { image: Some(to_wire(image)) }))
    }

    async fn delete(&self, request: Request<wire::DeleteImageRequest>) -> Result<Response<()>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let target =
            request.target.map(|target| Digest::parse(&target.digest)).transpose().map_err(refuse)?;
        self.names.delete(&caller.namespace, &request.name, target.as_ref()).await.map_err(refuse)?;
        caller.release(&self.leases, "images", &request.name).await.map_err(refuse)?;
        if request.sync {
            self.collector.collect().await.map_err(refuse)?;
        } else {
            self.collector.schedule();
        }
        Ok(Response::new(()))
    }
}

/// The image, and the time that its creation or change gets: now, unless the client says otherwise.
fn from_wire(
    image: Option<wire::Image>,
    epoch: Option<prost_types::Timestamp>,
) -> Result<(Image, SystemTime), Status> {
    let image = required(image, "image")?;
    if image.name.is_empty() {
        return Err(invalid("Image.Name required"));
    }
    let target = required(image.target, "image.target")?;
    let at = epoch.map(system_time).transpose().map_err(refuse)?.unwrap_or_else(SystemTime::now);
    let image = Image {
        name: image.name,
        labels: image.labels,
        target: descriptor_from_wire(target).map_err(refuse)?,
        created_at: at,
        updated_at: at,
    };
    Ok((image, at))
}

fn to_wire(image: Image) -> wire::Image {
    wire::Image {
        name: image.name,
        labels: image.labels,
        target: Some(descriptor_to_wire(image.target)),
        created_at: timestamp(image.created_at),
        updated_at: timestamp(image.updated_at),
    }
}
