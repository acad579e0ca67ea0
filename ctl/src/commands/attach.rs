//! `rctl attach`: connect to a running container.

use client::Client;
use proto_engine::v1;
use proto_engine::v1::attach_request::Request as Ask;
use proto_engine::v1::attach_response::Response as Answer;

use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::session::{self, Hear, Options, Say};
use crate::terminal;
use crate::words::Words;

/// Flags of `attach`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Keys that end the session and not the container
    #[arg(long, default_value = "ctrl-p,ctrl-q", value_parser = session::detach_keys)]
    detach_keys: std::vec::Vec<u8>,
    /// Do not attach standard input
    #[arg(long)]
    no_stdin: bool,
    /// Pass signals on to the process
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    sig_proxy: bool,
    /// The container
    container: String,
}

/// Attaches; the code is the container's when it ends meanwhile.
pub async fn run(context: &Context, args: Args) -> Result<u8> {
    let client = context.client().await?;
    let start = v1::AttachStart {
        id: args.container.clone(),
        stdin: !args.no_stdin,
        stdout: true,
        stderr: true,
        size: terminal::size(),
        start: false,
    };
    session(context, &client, start, args.sig_proxy, args.detach_keys).await
}

/// Starts a container and attaches to it, so that nothing which it writes is missed.
pub async fn start(
    context: &Context,
    client: &Client,
    container: &str,
    stdin: bool,
    keys: Vec<u8>,
) -> Result<u8> {
    let start = v1::AttachStart {
        id: container.to_owned(),
        stdin,
        stdout: true,
        stderr: true,
        size: terminal::size(),
        start: true,
    };
    session(context, client, start, true, keys).await
}

async fn session(
    context: &Context,
    client: &Client,
    start: v1::AttachStart,
    sig_proxy: bool,
    detach_keys: Vec<u8>,
) -> Result<u8> {
    let stdin = start.stdin;
    let size = start.size;
    let first = v1::AttachRequest { request: Some(Ask::Start(start)) };
    let (sender, requests) = session::channel(first, |say| v1::AttachRequest {
        request: Some(match say {
            Say::Stdin(bytes) => Ask::Stdin(bytes),
            Say::CloseStdin => Ask::CloseStdin(true),
            Say::Resize(size) => Ask::Resize(size),
        }),
    });
    let mut answers = client.engine_containers().attach(requests).await?.into_inner();
    let words = Words::new(context);
    let tty = match answers.message().await?.and_then(|answer| answer.response) {
        Some(Answer::Started(started)) => {
            words.about(&started.id, "");
            started.tty
        }
        _ => return Err(Failure::Local("the daemon did not say that it is attached".to_owned())),
    };
    if let (true, Some(size)) = (tty, size) {
        // A size that changes makes a shell or an editor draw itself again: nothing is shown before a key is pressed otherwise.
        let other = v1::Size { width: size.width + 1, height: size.height + 1 };
        for size in [other, size] {
            // When the daemon is gone, its answers end too.
            let _ = sender.send(Say::Resize(size)).await;
        }
    }
    let options = Options { stdin, tty, sig_proxy, detach_keys };
    let ended =
        session::run(options, sender, words, answers, |answer: v1::AttachResponse| match answer.response {
            Some(Answer::Output(output)) => Hear::Output(output),
            Some(Answer::Exit(exit)) => Hear::Exit(exit.code),
            _ => Hear::Other,
        });
    session::code(ended.await?)
}
