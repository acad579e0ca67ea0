//! `rctl rmi`.

use proto_engine::v1;

use super::each;
use crate::context::Context;
use crate::failure::Result;
use crate::output::familiar;

/// Flags of `rmi`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Force the removal of the image
    #[arg(short, long)]
    force: bool,
    /// The images
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

/// Removes each image and says what went.
pub async fn run(context: &Context, args: Args) -> Result<u8> {
    let client = context.client().await?;
    let force = args.force;
    each(&args.images, |image| {
        let mut images = client.engine_images();
        async move {
            let removed = images.remove(v1::RemoveImageRequest { image, force }).await?.into_inner();
            for name in &removed.untagged {
                outln!("Untagged: {}", familiar(name));
            }
            for id in &removed.deleted {
                outln!("Deleted: {id}");
            }
            Ok(())
        }
    })
    .await
}
