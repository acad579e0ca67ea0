//! `rctl kill`.

use proto_engine::v1;

use super::each;
use crate::context::Context;
use crate::failure::Result;

/// Flags of `kill`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Signal to send to the container
    #[arg(short, long, default_value = "KILL")]
    signal: String,
    /// The containers
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Kills each container and prints its name.
pub async fn run(context: &Context, args: Args) -> Result<u8> {
    let client = context.client().await?;
    let args = &args;
    each(&args.containers, |id| {
        let mut containers = client.engine_containers();
        async move {
            containers.kill(v1::KillRequest { id: id.clone(), signal: args.signal.clone() }).await?;
            outln!("{id}");
            Ok(())
        }
    })
    .await
}
