//! `rctl restart`.

use proto_engine::v1;

use super::each;
use super::stop::StopFlags;
use crate::context::Context;
use crate::failure::Result;

/// Flags of `restart`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    stop: StopFlags,
}

/// Restarts each container and prints its name.
pub async fn run(context: &Context, args: Args) -> Result<u8> {
    let client = context.client().await?;
    let args = &args.stop;
    each(&args.containers, |id| {
        let mut containers = client.engine_containers();
        async move {
            containers
                .restart(v1::RestartRequest {
                    id: id.clone(),
                    timeout: args.timeout,
                    signal: args.signal.clone().unwrap_or_default(),
                })
                .await?;
            outln!("{id}");
            Ok(())
        }
    })
    .await
}
