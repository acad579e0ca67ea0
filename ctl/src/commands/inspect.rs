//! `rctl inspect`.

use proto_engine::v1;
use serde_json::Value;
use tonic::Code;

use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::output::format::{Format, harmless};

/// Flags of `inspect`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only things of this type: container or image
    #[arg(long = "type", value_parser = ["container", "image"])]
    kind: Option<String>,
    /// Format output: json or TEMPLATE
    #[arg(short, long, value_parser = |text: &str| Format::parse(text).map(|_| text.to_owned()))]
    format: Option<String>,
    /// Display total file sizes of containers
    #[arg(short, long)]
    size: bool,
    /// The containers or images
    #[arg(required = true, value_name = "NAME|ID")]
    names: Vec<String>,
}

impl Args {
    /// Only things of this type, whatever the flags say.
    pub fn only(self, kind: &str) -> Args {
        Args { kind: Some(kind.to_owned()), ..self }
    }
}

/// Prints a JSON list of what is there, and an error for each that is not.
pub async fn run(context: &Context, args: Args) -> Result<u8> {
    let client = context.client().await?;
    let mut found = Vec::new();
    let mut failed = false;
    for name in &args.names {
        match object(&client, &args, name).await? {
            Some(object) => found.push(object),
            None => {
                errln!("Error: No such {}: {name}", args.kind.as_deref().unwrap_or("object"));
                failed = true;
            }
        }
    }
    if let Some(format) = &args.format {
        let text = match Format::parse(format).map_err(Failure::Usage)? {
            // docker's `json` is one list here; only a template goes through the things one by one.
            Format::Json if format == "json" => harmless(&Value::Array(found).to_string()) + "\n",
            format => format.render(&found).map_err(Failure::Local)?,
        };
        raw!("{text}");
        return if failed { Err(Failure::Told) } else { Ok(0) };
    }
    let text = serde_json::to_string_pretty(&Value::Array(found))
        .map_err(|error| Failure::local("write JSON", error))?;
    outln!("{}", harmless(&text));
    if failed { Err(Failure::Told) } else { Ok(0) }
}

/// A container of that name, or else an image.
async fn object(client: &client::Client, args: &Args, name: &str) -> Result<Option<Value>> {
    let parse = |json: &[u8]| {
        serde_json::from_slice(json).map_err(|error| Failure::local("read the daemon's JSON", error))
    };
    if args.kind.as_deref() != Some("image") {
        let request = v1::InspectRequest { id: name.to_owned(), size: args.size };
        match client.engine_containers().inspect(request).await {
            Ok(answer) => return parse(&answer.into_inner().json).map(Some),
            Err(status) if status.code() == Code::NotFound => {}
            Err(status) => return Err(status.into()),
        }
    }
    if args.kind.as_deref() != Some("container") {
        match client.engine_images().inspect(v1::InspectImageRequest { image: name.to_owned() }).await {
            Ok(answer) => return parse(&answer.into_inner().json).map(Some),
            Err(status) if matches!(status.code(), Code::NotFound | Code::InvalidArgument) => {}
            Err(status) => return Err(status.into()),
        }
    }
    Ok(None)
}
