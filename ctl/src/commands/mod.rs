//! A file a verb.

pub mod attach;
pub mod completion;
pub mod create;
pub mod exec;
pub mod images;
pub mod info;
pub mod inspect;
pub mod kill;
pub mod load;
pub mod logs;
pub mod manage;
pub mod nouns;
pub mod pause;
pub mod ps;
pub mod pull;
pub mod restart;
pub mod rm;
pub mod rmi;
pub mod run;
pub mod save;
pub mod start;
pub mod stats;
pub mod stop;
pub mod tag;
pub mod top;
pub mod unpause;
pub mod version;
pub mod wait;

mod container_flags;
mod hello;

use crate::cli::{Cli, Command};
use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::trace::Tracing;

/// As many as docker asks for side by side.
const AT_ONCE: usize = 50;

/// Carries a command out, and shows where its time went if asked; the number is the process's exit code.
pub async fn run(cli: Cli) -> Result<u8> {
    let tracing = cli.globals.trace.then(Tracing::begin);
    let trace = tracing.as_ref().map(|tracing| tracing.id().to_owned());
    let context = Context { address: cli.globals.address, namespace: cli.globals.namespace, trace };
    let step = marks::step("rctl.command.whole").map_err(|fault| Failure::Local(fault.to_string()))?;
    let result = carry_out(&context, cli.command).await;
    drop(step);
    if let Some(tracing) = tracing {
        tracing.show(&context).await;
    }
    result
}

async fn carry_out(context: &Context, command: Command) -> Result<u8> {
    let command = match command {
        Command::Container(verb) => manage::container(verb),
        Command::Image(verb) => manage::image(verb),
        command => command,
    };
    match command {
        Command::Run(args) => run::run(context, args).await,
        Command::Create(args) => create::run(context, args).await,
        Command::Exec(args) => exec::run(context, args).await,
        Command::Ps(args) => ps::run(context, args).await,
        Command::Logs(args) => logs::run(context, args).await,
        Command::Start(args) => start::run(context, args).await,
        Command::Stop(args) => stop::run(context, args).await,
        Command::Restart(args) => restart::run(context, args).await,
        Command::Kill(args) => kill::run(context, args).await,
        Command::Rm(args) => rm::run(context, args).await,
        Command::Inspect(args) => inspect::run(context, args).await,
        Command::Load(args) => load::run(context, args).await,
        Command::Attach(args) => attach::run(context, args).await,
        Command::Wait(args) => wait::run(context, args).await,
        Command::Pause(args) => pause::run(context, args).await,
        Command::Unpause(args) => unpause::run(context, args).await,
        Command::Pull(args) => pull::run(context, args).await,
        Command::Images(args) => images::run(context, args).await,
        Command::Rmi(args) => rmi::run(context, args).await,
        Command::Tag(args) => tag::run(context, args).await,
        Command::Top(args) => top::run(context, args).await,
        Command::Stats(args) => stats::run(context, args).await,
        Command::Save(args) => save::run(context, args).await,
        Command::Info(args) => info::run(context, args).await,
        Command::Completion(args) => completion::run(context, args).await,
        Command::Version(args) => version::run(context, args).await,
        Command::Containers(verb) => nouns::containers::run(context, verb).await,
        Command::Content(verb) => nouns::content::run(context, verb).await,
        Command::Leases(verb) => nouns::leases::run(context, verb).await,
        Command::Namespaces(verb) => nouns::namespaces::run(context, verb).await,
        Command::Plugins(verb) => nouns::plugins::run(context, verb).await,
        Command::Snapshots(args) => nouns::snapshots::run(context, args).await,
        Command::Tasks(verb) => nouns::tasks::run(context, verb).await,
        // Their short forms stand above.
        Command::Container(_) | Command::Image(_) => Ok(0),
    }
}

/// Does the same to several things side by side, and prints the name of each that it was done to, in their order.
pub async fn each_at_once<F: Future<Output = Result<()>>>(
    names: &[String],
    act: impl Fn(String) -> F,
) -> Result<u8> {
    use futures::StreamExt;
    let work = names.iter().map(|name| {
        let done = act(name.clone());
        async move { (name, done.await) }
    });
    let mut results = futures::stream::iter(work).buffered(AT_ONCE);
    let mut failed = false;
    while let Some((name, result)) = results.next().await {
        match result {
            Ok(()) => outln!("{name}"),
            Err(failure) => {
                failure.print();
                failed = true;
            }
        }
    }
    if failed { Err(Failure::Told) } else { Ok(0) }
}

/// Does the same to each of several things, and goes on past those that fail.
pub async fn each<F: Future<Output = Result<()>>>(names: &[String], act: impl Fn(String) -> F) -> Result<u8> {
    let mut failed = false;
    for name in names {
        if let Err(failure) = act(name.clone()).await {
            failure.print();
            failed = true;
        }
    }
    if failed { Err(Failure::Told) } else { Ok(0) }
}
