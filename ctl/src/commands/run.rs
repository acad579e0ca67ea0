//! `rctl run`: create, start and follow a container.

use proto_engine::v1;
use proto_engine::v1::run_request::Request as Ask;
use proto_engine::v1::run_response::Response as Answer;
use tonic::{Code, Status};

use super::container_flags::ContainerFlags;
use super::{hello, pull};
use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::session::{self, Ended, Hear, Options, Say};
use crate::terminal;
use crate::words::Words;

/// Flags of `run`.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub struct Args {
    /// Run the container in the background and print its id
    #[arg(short, long)]
    detach: bool,
    /// Attach to STDIN, STDOUT or STDERR only
    #[arg(short, long, value_name = "STREAM", ignore_case = true, value_parser = ["stdin", "stdout", "stderr"])]
    attach: Vec<String>,
    /// Keys that end the session and not the container
    #[arg(long, default_value = "ctrl-p,ctrl-q", value_parser = session::detach_keys)]
    detach_keys: std::vec::Vec<u8>,
    /// Pass signals on to the process
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    sig_proxy: bool,
    #[command(flatten)]
    container: ContainerFlags,
}

/// Runs a container; the code is its own, or docker's 125, 126 and 127.
pub async fn run(context: &Context, args: Args) -> Result<u8> {
    if args.detach && !args.attach.is_empty() {
        return Err(Failure::Usage(
            "conflicting options: cannot specify both --attach and --detach".to_owned(),
        ));
    }
    if args.container.tty && args.container.interactive && !args.detach && !terminal::stdin_is_terminal() {
        return Err(Failure::Local("the input device is not a TTY".to_owned()));
    }
    let start = start(&args)?;
    let client = context.client().await.map_err(Failure::of_run)?;
    if args.container.pull == "always" {
        let platform = args.container.platform.as_deref();
        let pulled = pull::image(&client, &args.container.image, platform, args.container.quiet).await;
        pulled.map_err(Failure::of_run)?;
    }
    match attempt(context, &client, &args, start.clone()).await {
        Err(Failure::Run(status)) if missing_image(&status) && args.container.pull != "never" => {
            fetch(&client, &args.container).await?;
            attempt(context, &client, &args, start).await
        }
        other => other,
    }
}

/// Is it only that the image is not here?
pub fn missing_image(status: &Status) -> bool {
    status.code() == Code::NotFound && status.message().contains("No such image")
}

/// Brings an image that is not here: the one that is built in, or from its registry.
pub async fn fetch(client: &client::Client, container: &ContainerFlags) -> Result<()> {
    if hello::is_built_in(&container.image) {
        return hello::load(client).await;
    }
    if !container.quiet {
        errln!("Unable to find image '{}' locally", container.image);
    }
    let platform = container.platform.as_deref();
    pull::image(client, &container.image, platform, container.quiet).await.map_err(Failure::of_run)
}

fn start(args: &Args) -> Result<v1::RunStart> {
    let wants = |stream: &str| args.attach.iter().any(|name| name.eq_ignore_ascii_case(stream));
    let all = args.attach.is_empty();
    Ok(v1::RunStart {
        config: Some(args.container.config()?),
        detach: args.detach,
        attach_stdin: !args.detach && args.container.interactive && (all || wants("stdin")),
        attach_stdout: all || wants("stdout"),
        attach_stderr: all || wants("stderr"),
        size: if args.container.tty && !args.detach { terminal::size() } else { None },
    })
}

async fn attempt(context: &Context, client: &client::Client, args: &Args, start: v1::RunStart) -> Result<u8> {
    let options = Options {
        stdin: start.attach_stdin,
        tty: args.container.tty,
        sig_proxy: args.sig_proxy && !args.detach,
        detach_keys: args.detach_keys.clone(),
    };
    let first = v1::RunRequest { request: Some(Ask::Start(start)) };
    let (sender, requests) = session::channel(first, |say| v1::RunRequest {
        request: Some(match say {
            Say::Stdin(bytes) => Ask::Stdin(bytes),
            Say::CloseStdin => Ask::CloseStdin(true),
            Say::Resize(size) => Ask::Resize(size),
        }),
    });
    let mut answers = client.engine_containers().run(requests).await.map_err(Failure::Run)?.into_inner();
    if args.detach {
        return detached(&mut answers).await;
    }
    let words = Words::new(context);
    let ended =
        session::run(options, sender, words, answers, |answer: v1::RunResponse| match answer.response {
            Some(Answer::Created(created)) => Hear::Named { id: created.id, exec_id: String::new() },
            Some(Answer::Output(output)) => Hear::Output(output),
            Some(Answer::Exit(exit)) => Hear::Exit(exit.code),
            _ => Hear::Other,
        });
    match ended.await? {
        Ended::Detached => {
            eprintln!();
            Ok(0)
        }
        ended => session::code(ended),
    }
}

async fn detached(answers: &mut tonic::Streaming<v1::RunResponse>) -> Result<u8> {
    let mut id = String::new();
    while let Some(answer) = answers.message().await.map_err(Failure::Run)? {
        match answer.response {
            Some(Answer::Created(created)) => id = created.id,
            Some(Answer::Started(_)) => {
                outln!("{id}");
                return Ok(0);
            }
            _ => {}
        }
    }
    Err(Failure::Run(Status::unavailable("the daemon did not say whether the container runs")))
}
