//! `rctl create`: a container that does not run yet.

use proto_engine::v1;

use super::container_flags::ContainerFlags;
use super::{pull, run as run_command};
use crate::context::Context;
use crate::failure::{Failure, Result};

/// Flags of `create`.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub struct Args {
    #[command(flatten)]
    container: ContainerFlags,
}

/// Creates a container and prints its id.
pub async fn run(context: &Context, args: Args) -> Result<u8> {
    let request = v1::CreateRequest { config: Some(args.container.config()?) };
    let client = context.client().await?;
    if args.container.pull == "always" {
        pull::image(&client, &args.container.image, args.container.platform.as_deref(), args.container.quiet)
            .await?;
    }
    let created = match client.engine_containers().create(request.clone()).await {
        Err(status) if run_command::missing_image(&status) && args.container.pull != "never" => {
            run_command::fetch(&client, &args.container).await?;
            client.engine_containers().create(request).await
        }
        created => created,
    };
    outln!("{}", created.map_err(Failure::Daemon)?.into_inner().id);
    Ok(0)
}
