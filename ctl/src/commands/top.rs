//! `rctl top`.

use proto_engine::v1;

use crate::context::Context;
use crate::failure::Result;
use crate::output::table::Table;

/// Flags of `top`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The container
    container: String,
    /// Arguments of ps(1)
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    ps_args: Vec<String>,
}

/// Prints the processes of a container.
pub async fn run(context: &Context, args: Args) -> Result<u8> {
    let client = context.client().await?;
    let request = v1::TopRequest { id: args.container, ps_args: args.ps_args };
    let top = client.engine_containers().top(request).await?.into_inner();
    let mut table = Table::new(&top.titles.iter().map(String::as_str).collect::<Vec<_>>());
    for process in top.processes {
        table.row(process.fields);
    }
    out!("{}", table.render());
    Ok(0)
}
