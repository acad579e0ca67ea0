//! `rctl rm`.

use proto_engine::v1;

use super::each_at_once;
use crate::context::Context;
use crate::failure::Result;

/// Flags of `rm`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Force the removal of a running container
    #[arg(short, long)]
    force: bool,
    /// Remove anonymous volumes associated with the container
    #[arg(short, long)]
    volumes: bool,
    /// The containers
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Removes each container and prints its name.
pub async fn run(context: &Context, args: Args) -> Result<u8> {
    let client = context.client().await?;
    let args = &args;
    each_at_once(&args.containers, |id| {
        let mut containers = client.engine_containers();
        async move {
            containers
                .remove(v1::RemoveRequest { id: id.clone(), force: args.force, volumes: args.volumes })
                .await?;
            Ok(())
        }
    })
    .await
}
