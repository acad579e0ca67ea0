//! docker's management commands: `rctl container ls` is `rctl ps`, `rctl image rm` is `rctl rmi`.

use clap::Subcommand;

use super::*;

/// Verbs of `container`.
#[derive(Debug, Subcommand)]
pub enum Container {
    /// Attach standard input, output and error to a running container
    Attach(attach::Args),
    /// Create a new container
    Create(create::Args),
    /// Run a command in a running container
    Exec(exec::Args),
    /// Display detailed information on one or more containers
    Inspect(inspect::Args),
    /// Kill one or more running containers
    Kill(kill::Args),
    /// Fetch the output of a container
    Logs(logs::Args),
    /// List containers
    #[command(visible_aliases = ["list", "ps"])]
    Ls(ps::Args),
    /// Pause all processes within one or more containers
    Pause(pause::Args),
    /// Restart one or more containers
    Restart(restart::Args),
    /// Remove one or more containers
    #[command(visible_alias = "remove")]
    Rm(rm::Args),
    /// Create and run a new container from an image
    Run(run::Args),
    /// Start one or more stopped containers
    Start(start::Args),
    /// Display a live stream of what containers use
    Stats(stats::Args),
    /// Stop one or more running containers
    Stop(stop::Args),
    /// Display the running processes of a container
    Top(top::Args),
    /// Unpause all processes within one or more containers
    Unpause(unpause::Args),
    /// Block until one or more containers stop, then print their exit codes
    Wait(wait::Args),
}

/// Verbs of `image`.
#[derive(Debug, Subcommand)]
pub enum Image {
    /// Display detailed information on one or more images
    Inspect(inspect::Args),
    /// Load images from an archive
    Load(load::Args),
    /// List images
    #[command(visible_alias = "list")]
    Ls(images::Args),
    /// Pull an image from a registry
    Pull(pull::Args),
    /// Remove one or more images
    #[command(visible_alias = "remove")]
    Rm(rmi::Args),
    /// Save one or more images to an archive
    Save(save::Args),
    /// Create a tag TARGET that refers to SOURCE
    Tag(tag::Args),
}

/// The short form of a verb of `container`.
pub fn container(verb: Container) -> Command {
    match verb {
        Container::Attach(args) => Command::Attach(args),
        Container::Create(args) => Command::Create(args),
        Container::Exec(args) => Command::Exec(args),
        Container::Inspect(args) => Command::Inspect(args.only("container")),
        Container::Kill(args) => Command::Kill(args),
        Container::Logs(args) => Command::Logs(args),
        Container::Ls(args) => Command::Ps(args),
        Container::Pause(args) => Command::Pause(args),
        Container::Restart(args) => Command::Restart(args),
        Container::Rm(args) => Command::Rm(args),
        Container::Run(args) => Command::Run(args),
        Container::Start(args) => Command::Start(args),
        Container::Stats(args) => Command::Stats(args),
        Container::Stop(args) => Command::Stop(args),
        Container::Top(args) => Command::Top(args),
        Container::Unpause(args) => Command::Unpause(args),
        Container::Wait(args) => Command::Wait(args),
    }
}

/// The short form of a verb of `image`.
pub fn image(verb: Image) -> Command {
    match verb {
        Image::Inspect(args) => Command::Inspect(args.only("image")),
        Image::Load(args) => Command::Load(args),
        Image::Ls(args) => Command::Images(args),
        Image::Pull(args) => Command::Pull(args),
        Image::Rm(args) => Command::Rmi(args),
        Image::Save(args) => Command::Save(args),
        Image::Tag(args) => Command::Tag(args),
    }
}
