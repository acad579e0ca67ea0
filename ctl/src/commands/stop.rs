//! `rctl stop`.

use proto_engine::v1;

use super::each_at_once;
use crate::context::Context;
use crate::failure::Result;

/// How a container is stopped: `stop` and `restart` share these.
#[derive(Debug, clap::Args)]
pub struct StopFlags {
    /// Seconds to wait before killing the container; -1 waits for ever
    #[arg(
        short = 't',
        long = "timeout",
        visible_alias = "time",
        value_name = "SECONDS",
        allow_hyphen_values = true
    )]
    pub timeout: Option<i64>,
    /// Signal to send to the container
    #[arg(short, long)]
    pub signal: Option<String>,
    /// The containers
    #[arg(required = true, value_name = "CONTAINER")]
    pub containers: Vec<String>,
}

/// Flags of `stop`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    stop: StopFlags,
}

/// Stops each container and prints its name.
pub async fn run(context: &Context, args: Args) -> Result<u8> {
    let client = context.client().await?;
    let args = &args.stop;
    each_at_once(&args.containers, |id| {
        let mut containers = client.engine_containers();
        async move {
            containers
                .stop(v1::StopRequest {
                    id: id.clone(),
                    timeout: args.timeout,
                    signal: args.signal.clone().unwrap_or_default(),
                })
                .await?;
            Ok(())
        }
    })
    .await
}
