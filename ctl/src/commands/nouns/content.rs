//! `rctl content`: blobs, and those that are being written.

use std::io::Write;

use clap::Subcommand;
use client::Client;
use proto_containerd::services::content as api;

use super::{label_mask, labels, pairs, present};
use crate::commands::each;
use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::output::table::Table;
use crate::output::time::{ago, human_size};

/// Bytes of one message of an ingest.
const CHUNK: usize = 1 << 20;

/// Verbs of `content`.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List what is being written
    Active {
        /// A regular expression of references
        filters: Vec<String>,
    },
    /// Write a blob to standard output
    Get {
        /// Its digest
        digest: String,
    },
    /// Store standard input as a blob
    Ingest {
        /// The blob's expected digest
        #[arg(long, default_value = "", value_name = "DIGEST")]
        expected_digest: String,
        /// The blob's expected size
        #[arg(long, default_value_t = 0, value_name = "BYTES")]
        expected_size: i64,
        /// The name of the writing
        reference: String,
    },
    /// Give up what is being written
    Abort {
        /// The names of the writings
        #[arg(required = true, value_name = "REFERENCE")]
        references: Vec<String>,
    },
    /// Set a blob's labels, or clear those without a value
    Label {
        /// The digest
        digest: String,
        /// The labels
        #[arg(required = true, value_name = "KEY=VALUE")]
        labels: Vec<String>,
    },
    /// List blobs
    #[command(visible_alias = "list")]
    Ls {
        /// Print digests only
        #[arg(short, long)]
        quiet: bool,
        /// Only blobs that one of these filters takes
        filters: Vec<String>,
    },
    /// Remove blobs
    #[command(visible_aliases = ["remove", "delete", "del"])]
    Rm {
        /// The digests
        #[arg(required = true, value_name = "DIGEST")]
        digests: Vec<String>,
    },
}

/// Carries a verb out.
pub async fn run(context: &Context, verb: Verb) -> Result<u8> {
    let client = context.client().await?;
    match verb {
        Verb::Active { filters } => active(&client, filters).await,
        Verb::Get { digest } => get(&client, digest).await,
        Verb::Ingest { expected_digest, expected_size, reference } => {
            ingest(&client, reference, expected_digest, expected_size).await
        }
        Verb::Abort { references } => {
            each(&references, |reference| {
                let mut content = client.content();
                async move {
                    content.abort(api::AbortRequest { r#ref: reference.clone() }).await?;
                    outln!("{reference}");
                    Ok(())
                }
            })
            .await
        }
        Verb::Label { digest, labels } => label(&client, digest, &labels).await,
        Verb::Ls { quiet, filters } => list(&client, quiet, filters).await,
        Verb::Rm { digests } => {
            each(&digests, |digest| {
                let mut content = client.content();
                async move {
                    content.delete(api::DeleteContentRequest { digest: digest.clone() }).await?;
                    outln!("{digest}");
                    Ok(())
                }
            })
            .await
        }
    }
}

async fn active(client: &Client, filters: Vec<String>) -> Result<u8> {
    let filters = filters.into_iter().map(|regex| format!("ref~={regex:?}")).collect();
    let answer = client.content().list_statuses(api::ListStatusesRequest { filters }).await?.into_inner();
    let mut table = Table::new(&["REF", "SIZE", "AGE"]);
    for status in answer.statuses {
        let age = ago(status.started_at).trim_end_matches(" ago").to_owned();
        table.row(vec![status.r#ref, human_size(status.offset), age]);
    }
    out!("{}", table.render());
    Ok(0)
}

async fn get(client: &Client, digest: String) -> Result<u8> {
    let request = api::ReadContentRequest { digest, offset: 0, size: 0 };
    let mut chunks = client.content().read(request).await?.into_inner();
    let mut out = std::io::stdout().lock();
    while let Some(chunk) = chunks.message().await? {
        match out.write_all(&chunk.data) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(0),
            other => other.map_err(|error| Failure::local("write the blob", error))?,
        }
    }
    out.flush().map_err(|error| Failure::local("write the blob", error))?;
    Ok(0)
}

async fn ingest(client: &Client, reference: String, expected: String, total: i64) -> Result<u8> {
    let (sender, receiver) = tokio::sync::mpsc::channel(2);
    let reading = tokio::spawn(read_in(sender, reference.clone(), expected.clone(), total));
    let requests = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let mut answers = client.content().write(requests).await?.into_inner();
    while answers.message().await?.is_some() {}
    let read = reading.await.map_err(|error| Failure::local("read standard input", error))?;
    read.map_err(|error| Failure::local("read standard input", error))?;
    Ok(0)
}

/// Standard input as a writer's messages, with the commit at its end; input that cannot be read on is not committed.
async fn read_in(
    sender: tokio::sync::mpsc::Sender<api::WriteContentRequest>,
    reference: String,
    expected: String,
    total: i64,
) -> std::io::Result<()> {
    use tokio::io::AsyncReadExt;
    let mut input = tokio::io::stdin();
    let mut request = api::WriteContentRequest { r#ref: reference, total, ..Default::default() };
    let mut offset = 0;
    loop {
        let mut data = Vec::with_capacity(CHUNK);
        (&mut input).take(CHUNK as u64).read_to_end(&mut data).await?;
        let length = data.len();
        let action = if length == 0 { api::WriteAction::Commit } else { api::WriteAction::Write };
        request.set_action(action);
        request.offset = offset;
        request.data = data.into();
        if action == api::WriteAction::Commit {
            expected.clone_into(&mut request.expected);
            request.total = offset;
        }
        // A writer that has failed says why in its answer.
        if sender.send(request.clone()).await.is_err() || length == 0 {
            return Ok(());
        }
        offset += length as i64;
    }
}

async fn label(client: &Client, digest: String, arguments: &[String]) -> Result<u8> {
    let set = pairs(arguments)?;
    let update_mask = label_mask(&set);
    let info = Some(api::Info { digest, labels: set, ..Default::default() });
    let answer = client.content().update(api::UpdateRequest { info, update_mask }).await?.into_inner();
    outln!("{}", labels(&present(answer.info, "blob")?.labels));
    Ok(0)
}

async fn list(client: &Client, quiet: bool, filters: Vec<String>) -> Result<u8> {
    let mut pages = client.content().list(api::ListContentRequest { filters }).await?.into_inner();
    let mut table = Table::new(&["DIGEST", "SIZE", "AGE", "LABELS"]);
    while let Some(page) = pages.message().await? {
        for info in page.info {
            if quiet {
                outln!("{}", info.digest);
                continue;
            }
            let age = ago(info.created_at).trim_end_matches(" ago").to_owned();
            table.row(vec![info.digest, human_size(info.size), age, labels(&info.labels)]);
        }
    }
    if !quiet {
        out!("{}", table.render());
    }
    Ok(0)
}
