//! `rctl exec`: another process in a running container.

use std::path::PathBuf;

use proto_engine::v1;
use proto_engine::v1::exec_request::Request as Ask;
use proto_engine::v1::exec_response::Response as Answer;

use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::session::{self, Hear, Options, Say};
use crate::words::Words;
use crate::{parse, terminal};

/// Flags of `exec`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Run the command in the background
    #[arg(short, long)]
    detach: bool,
    /// Keep standard input open
    #[arg(short, long)]
    interactive: bool,
    /// Allocate a pseudo-terminal
    #[arg(short, long)]
    tty: bool,
    /// Set environment variables
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Read in a file of environment variables
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// Working directory inside the container
    #[arg(short, long)]
    workdir: Option<String>,
    /// User name or id, with an optional group
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// Give the command all that the daemon may
    #[arg(long)]
    privileged: bool,
    /// Keys that end the session and not the command
    #[arg(long, default_value = "ctrl-p,ctrl-q", value_parser = session::detach_keys)]
    detach_keys: std::vec::Vec<u8>,
    /// The container
    container: String,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// Runs a command in a container; the code is the command's.
pub async fn run(context: &Context, args: Args) -> Result<u8> {
    if args.tty && args.interactive && !args.detach && !terminal::stdin_is_terminal() {
        return Err(Failure::Local("the input device is not a TTY".to_owned()));
    }
    let start = v1::ExecStart {
        id: args.container.clone(),
        args: args.command.clone(),
        env: parse::environment(&args.env_file, &args.env).map_err(Failure::Usage)?,
        working_dir: args.workdir.clone().unwrap_or_default(),
        user: args.user.clone().unwrap_or_default(),
        tty: args.tty,
        privileged: args.privileged,
        detach: args.detach,
        attach_stdin: args.interactive && !args.detach,
        size: if args.tty { terminal::size() } else { None },
    };
    let options = Options {
        stdin: start.attach_stdin,
        tty: args.tty,
        sig_proxy: false,
        detach_keys: args.detach_keys.clone(),
    };
    let first = v1::ExecRequest { request: Some(Ask::Start(start)) };
    let (sender, requests) = session::channel(first, |say| v1::ExecRequest {
        request: Some(match say {
            Say::Stdin(bytes) => Ask::Stdin(bytes),
            Say::CloseStdin => Ask::CloseStdin(true),
            Say::Resize(size) => Ask::Resize(size),
        }),
    });
    let client = context.client().await?;
    let failed = |status: tonic::Status| match Failure::Run(status.clone()).code() {
        // Only a command that could not be started has a code of its own; the rest is docker's plain 1.
        126 | 127 => Failure::Run(status),
        _ => Failure::Daemon(status),
    };
    let mut answers = client.engine_containers().exec(requests).await.map_err(failed)?.into_inner();
    if args.detach {
        answers.message().await.map_err(Failure::Daemon)?;
        return Ok(0);
    }
    let words = Words::new(context);
    let named = |exec_id| Hear::Named { id: args.container.clone(), exec_id };
    let ended =
        session::run(options, sender, words, answers, |answer: v1::ExecResponse| match answer.response {
            Some(Answer::Started(started)) => named(started.exec_id),
            Some(Answer::Output(output)) => Hear::Output(output),
            Some(Answer::Exit(exit)) => Hear::Exit(exit.code),
            _ => Hear::Other,
        });
    session::code(ended.await?)
}
