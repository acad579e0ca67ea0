//! `rctl completion`.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::Cli;
use crate::context::Context;
use crate::failure::Result;

/// Flags of `completion`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell
    shell: Shell,
}

/// Prints a completion script: `source <(rctl completion bash)`.
pub async fn run(_: &Context, args: Args) -> Result<u8> {
    clap_complete::generate(args.shell, &mut Cli::command(), "rctl", &mut std::io::stdout());
    Ok(0)
}
