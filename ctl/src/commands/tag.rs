//! `rctl tag`.

use proto_engine::v1;

use crate::context::Context;
use crate::failure::Result;

/// Flags of `tag`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The image
    source: String,
    /// Its further name
    target: String,
}

/// Gives an image another name.
pub async fn run(context: &Context, args: Args) -> Result<u8> {
    let client = context.client().await?;
    client.engine_images().tag(v1::TagRequest { source: args.source, target: args.target }).await?;
    Ok(0)
}
