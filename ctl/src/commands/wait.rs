//! `rctl wait`.

use proto_engine::v1;

use super::each;
use crate::context::Context;
use crate::failure::Result;

/// Flags of `wait`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to wait for: not-running, next-exit or removed
    #[arg(long, default_value = "not-running", value_parser = ["not-running", "next-exit", "removed"])]
    condition: String,
    /// The containers
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Waits for each container and prints its exit code.
pub async fn run(context: &Context, args: Args) -> Result<u8> {
    let client = context.client().await?;
    let condition = match args.condition.as_str() {
        "next-exit" => v1::wait_request::Condition::NextExit,
        "removed" => v1::wait_request::Condition::Removed,
        _ => v1::wait_request::Condition::NotRunning,
    };
    each(&args.containers, |id| {
        let mut containers = client.engine_containers();
        async move {
            let answer = containers.wait(v1::WaitRequest { id, condition: condition.into() }).await?;
            outln!("{}", answer.into_inner().code);
            Ok(())
        }
    })
    .await
}
