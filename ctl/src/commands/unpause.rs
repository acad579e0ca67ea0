//! `rctl unpause`.

use proto_engine::v1;

use super::each;
use crate::context::Context;
use crate::failure::Result;

/// Flags of `unpause`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The containers
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Unpauses each container and prints its name.
pub async fn run(context: &Context, args: Args) -> Result<u8> {
    let client = context.client().await?;
    let args = &args;
    each(&args.containers, |id| {
        let mut containers = client.engine_containers();
        async move {
            containers.unpause(v1::UnpauseRequest { id: id.clone() }).await?;
            outln!("{id}");
            Ok(())
        }
    })
    .await
}
