//! `rctl restart`.

use proto_engine::v1;

use super::each;
use crate::context::Context;
use crate::failure::Result;

/// Flags of `restart`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Seconds to wait before killing the container; -1 waits for ever
    #[arg(
        short = 't',
        long = "timeout",
        visible_alias = "time",
        value_name = "SECONDS",
        allow_hyphen_values = true
    )]
    timeout: Option<i64>,
    /// Signal to send to the container
    #[arg(short, long)]
    signal: Option<String>,
    /// The containers
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Restarts each container and prints its name.
pub async fn run(context: &Context, args: Args) -> Result<u8> {
    let client = context.client().await?;
    let args = &args;
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
