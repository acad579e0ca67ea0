//! `rctl start`.

use proto_engine::v1;

use super::{attach, each};
use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::session;

/// Flags of `start`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Attach to the container's output
    #[arg(short, long)]
    attach: bool,
    /// Attach the container's standard input
    #[arg(short, long)]
    interactive: bool,
    /// Keys that end the session and not the container
    #[arg(long, default_value = "ctrl-p,ctrl-q", value_parser = session::detach_keys)]
    detach_keys: std::vec::Vec<u8>,
    /// The containers
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Starts each container and prints its name; with --attach, follows the one that is named.
pub async fn run(context: &Context, args: Args) -> Result<u8> {
    let client = context.client().await?;
    if args.attach || args.interactive {
        let [container] = args.containers.as_slice() else {
            return Err(Failure::Usage("you cannot start and attach multiple containers at once".to_owned()));
        };
        return attach::start(context, &client, container, args.interactive, args.detach_keys.clone()).await;
    }
    each(&args.containers, |id| {
        let mut containers = client.engine_containers();
        async move {
            containers.start(v1::StartRequest { id: id.clone() }).await?;
            outln!("{id}");
            Ok(())
        }
    })
    .await
}
