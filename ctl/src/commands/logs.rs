//! `rctl logs`: the kept output of a container.

use std::io::Write;
use std::time::{Duration, SystemTime};

use proto_engine::v1;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::output::time::{go_duration, system_time};

/// Flags of `logs`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Follow the output
    #[arg(short, long)]
    follow: bool,
    /// Show output since a time (2026-01-02T13:23:37Z) or how long ago (42m)
    #[arg(long)]
    since: Option<String>,
    /// Show output before a time or how long ago
    #[arg(long)]
    until: Option<String>,
    /// Number of lines to show from the end
    #[arg(short = 'n', long, default_value = "all", value_name = "N")]
    tail: String,
    /// Show timestamps
    #[arg(short, long)]
    timestamps: bool,
    /// The container
    container: String,
}

/// Prints the output, each stream where it belongs.
pub async fn run(context: &Context, args: Args) -> Result<u8> {
    let request = v1::LogsRequest {
        id: args.container.clone(),
        follow: args.follow,
        stdout: true,
        stderr: true,
        since: moment(args.since.as_deref())?,
        until: moment(args.until.as_deref())?,
        // docker takes what is no number for all.
        tail: args.tail.parse().ok(),
    };
    let client = context.client().await?;
    let mut lines = client.engine_containers().logs(request).await?.into_inner();
    // A line that comes in parts has one time.
    let mut fresh = [true, true];
    while let Some(line) = lines.message().await? {
        let stream = line.stream() as usize;
        let mut bytes = Vec::new();
        if args.timestamps && std::mem::replace(&mut fresh[stream.min(1)], line.data.ends_with(b"\n")) {
            bytes.extend(stamp(line.timestamp).into_bytes());
        }
        bytes.extend_from_slice(&line.data);
        let wrote = match line.stream() {
            v1::output::Stream::Stdout => {
                let mut out = std::io::stdout().lock();
                out.write_all(&bytes).and_then(|()| out.flush())
            }
            v1::output::Stream::Stderr => std::io::stderr().lock().write_all(&bytes),
        };
        match wrote {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(0),
            other => other.map_err(|error| Failure::local("write output", error))?,
        }
    }
    Ok(0)
}

/// RFC 3339 with nine digits of a second, as docker shows it.
fn stamp(at: Option<prost_types::Timestamp>) -> String {
    let format = time::macros::format_description!(
        "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:9]Z "
    );
    let time = at.and_then(system_time).map(OffsetDateTime::from);
    time.and_then(|time| time.format(format).ok()).unwrap_or_default()
}

/// A time, seconds since the epoch, or how long ago.
fn moment(text: Option<&str>) -> Result<Option<prost_types::Timestamp>> {
    let Some(text) = text else { return Ok(None) };
    if let Ok(time) = OffsetDateTime::parse(text, &Rfc3339) {
        return Ok(Some(SystemTime::from(time).into()));
    }
    if let Ok(seconds) = text.parse::<f64>()
        && let Ok(since) = Duration::try_from_secs_f64(seconds)
    {
        return Ok(Some((SystemTime::UNIX_EPOCH + since).into()));
    }
    let ago = go_duration(text)
        .ok_or_else(|| Failure::Usage(format!("invalid value for \"since\" or \"until\": {text:?}")))?;
    Ok(Some((SystemTime::now() - ago).into()))
}
