//! `rctl pause`.

use proto_engine::v1;

use super::each;
use crate::context::Context;
use crate::failure::Result;

/// Flags of `pause`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The containers
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Pauses each container and prints its name.
pub async fn run(context: &Context, args: Args) -> Result<u8> {
    let client = context.client().await?;
    let args = &args;
    each(&args.containers, |id| {
        let mut containers = client.engine_containers();
        async move {
            containers.pause(v1::PauseRequest { id: id.clone() }).await?;
            outln!("{id}");
            Ok(())
        }
    })
    .await
}
