//! `rctl pull`.

use client::Client;
use proto_engine::v1;
use proto_engine::v1::pull_response::Response as Answer;

use crate::context::Context;
use crate::failure::{Failure, Result, plain};
use crate::output::familiar;
use crate::output::progress::Progress;

/// Flags of `pull`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Content of all platforms
    #[arg(long)]
    all_platforms: bool,
    /// Platform of the image
    #[arg(long)]
    platform: Option<String>,
    /// Suppress verbose output
    #[arg(short, long)]
    quiet: bool,
    /// Use http, also where the registry is not on loopback
    #[arg(long)]
    plain_http: bool,
    /// Do not verify TLS certificates
    #[arg(short = 'k', long)]
    insecure: bool,
    /// User name and password for the registry; the password may be left out and comes from RCTL_PASSWORD then
    #[arg(long, value_name = "USER[:PASSWORD]")]
    creds: Option<String>,
    /// The image
    image: String,
}

/// Pulls an image and prints its name.
pub async fn run(context: &Context, args: Args) -> Result<u8> {
    let client = context.client().await?;
    let request = v1::PullRequest {
        reference: args.image.clone(),
        platform: args.platform.clone().unwrap_or_default(),
        all_platforms: args.all_platforms,
        plain_http: args.plain_http,
        insecure: args.insecure,
        credentials: args.creds.as_deref().map(credentials).transpose()?,
    };
    pull(&client, request, args.quiet).await?;
    Ok(0)
}

/// Pulls an image that a container needs.
pub async fn image(client: &Client, reference: &str, platform: Option<&str>, quiet: bool) -> Result<()> {
    let request = v1::PullRequest {
        reference: reference.to_owned(),
        platform: platform.unwrap_or_default().to_owned(),
        ..v1::PullRequest::default()
    };
    let mut answers = client.engine_images().pull(request).await?.into_inner();
    let mut progress = Progress::new(quiet);
    while let Some(answer) = answers.message().await? {
        if let (Some(Answer::Progress(part)), Some(progress)) = (answer.response, &mut progress) {
            progress.update(&part);
        }
    }
    if let Some(progress) = progress {
        progress.finish();
    }
    Ok(())
}

async fn pull(client: &Client, request: v1::PullRequest, quiet: bool) -> Result<()> {
    let mut answers = client.engine_images().pull(request).await?.into_inner();
    let mut progress = Progress::new(quiet);
    let mut pulled = None;
    while let Some(answer) = answers.message().await? {
        match answer.response {
            Some(Answer::Progress(part)) => {
                if let Some(progress) = &mut progress {
                    progress.update(&part);
                }
            }
            Some(Answer::Image(image)) => pulled = Some(image),
            None => {}
        }
    }
    if let Some(progress) = progress {
        progress.finish();
    }
    let image = pulled.ok_or_else(|| Failure::Local("the daemon did not say what it pulled".to_owned()))?;
    if !quiet {
        outln!("Digest: {}", plain(&image.digest));
        let how = if image.up_to_date { "Image is up to date" } else { "Downloaded newer image" };
        outln!("Status: {how} for {}", familiar(&image.name));
    }
    outln!("{}", plain(&image.name));
    Ok(())
}

fn credentials(text: &str) -> Result<v1::Credentials> {
    let (username, secret) = match text.split_once(':') {
        Some((username, secret)) => (username.to_owned(), secret.to_owned()),
        None => {
            let secret = std::env::var("RCTL_PASSWORD").map_err(|_| {
                Failure::Usage("--creds needs USER:PASSWORD, or the password in RCTL_PASSWORD".to_owned())
            })?;
            (text.to_owned(), secret)
        }
    };
    Ok(v1::Credentials { username, secret })
}
