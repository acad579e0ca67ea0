//! `rctl load`.

use std::path::PathBuf;

use proto_engine::v1;
use proto_engine::v1::load_request::Request as Ask;
use proto_engine::v1::load_response::Response as Answer;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio_stream::StreamExt;

use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::output::familiar;
use crate::output::progress::Progress;
use crate::terminal;

/// Bytes of one message.
const CHUNK: usize = 256 << 10;
/// Messages that may wait for the daemon.
const QUEUE: usize = 4;

/// Flags of `load`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Read from this archive, instead of standard input
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Load only this platform
    #[arg(long, default_value = "")]
    platform: String,
    /// Suppress the progress
    #[arg(short, long)]
    quiet: bool,
}

/// Loads the images of an archive and prints their names.
pub async fn run(context: &Context, args: Args) -> Result<u8> {
    let reader: Box<dyn AsyncRead + Send + Unpin> = match &args.input {
        Some(path) => {
            let file = tokio::fs::File::open(path).await;
            Box::new(file.map_err(|error| Failure::local(format!("open {}", path.display()), error))?)
        }
        None if terminal::stdin_is_terminal() => {
            return Err(Failure::Usage("requested load from stdin, but stdin is empty".to_owned()));
        }
        None => Box::new(tokio::io::stdin()),
    };
    let client = context.client().await?;
    let first =
        v1::LoadRequest { request: Some(Ask::Start(v1::LoadStart { platform: args.platform.clone() })) };
    let requests = tokio_stream::once(first).chain(chunks(reader));
    let mut answers = client.engine_images().load(requests).await?.into_inner();
    let mut progress = Progress::new(args.quiet);
    while let Some(answer) = answers.message().await? {
        match answer.response {
            Some(Answer::Progress(part)) => {
                if let Some(progress) = &mut progress {
                    progress.update(&part);
                }
            }
            Some(Answer::Image(image)) => outln!("Loaded image: {}", familiar(&image.name)),
            None => {}
        }
    }
    if let Some(progress) = progress {
        progress.finish();
    }
    Ok(0)
}

/// Reads on a task of its own, so that reading and sending overlap. An archive that cannot be read on ends short, which the daemon notices.
fn chunks(
    mut reader: Box<dyn AsyncRead + Send + Unpin>,
) -> impl tokio_stream::Stream<Item = v1::LoadRequest> + Send {
    let (sender, receiver) = tokio::sync::mpsc::channel(QUEUE);
    tokio::spawn(async move {
        loop {
            let mut buffer = Vec::with_capacity(CHUNK);
            match (&mut reader).take(CHUNK as u64).read_to_end(&mut buffer).await {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) => return eprintln!("rctl: read the archive: {error}"),
            }
            if sender.send(v1::LoadRequest { request: Some(Ask::Data(buffer)) }).await.is_err() {
                return;
            }
        }
    });
    tokio_stream::wrappers::ReceiverStream::new(receiver)
}
