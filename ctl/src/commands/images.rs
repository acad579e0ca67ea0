//! `rctl images`.

use proto_engine::v1;
use serde_json::{Value, json};

use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::output::format::Format;
use crate::output::table::Table;
use crate::output::time::{ago, human_size, stamp};

/// Flags of `images`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Show all images; here they always are
    #[arg(short, long)]
    all: bool,
    /// Show digests
    #[arg(long)]
    digests: bool,
    /// Filter output based on conditions
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// Format output: json, table TEMPLATE or TEMPLATE
    #[arg(long, value_parser = |text: &str| Format::parse(text).map(|_| text.to_owned()))]
    format: Option<String>,
    /// Do not truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Show image ids only
    #[arg(short, long)]
    quiet: bool,
    /// Only images of this repository, with this tag if there is one
    repository: Option<String>,
}

/// Lists images with docker's columns.
pub async fn run(context: &Context, args: Args) -> Result<u8> {
    let client = context.client().await?;
    let mut filters = args.filter.clone();
    filters.extend(args.repository.iter().map(|repository| format!("reference={repository}")));
    let images = client.engine_images().list(v1::ListImagesRequest { filters }).await?.into_inner().images;
    if args.quiet {
        let mut seen = Vec::new();
        for image in &images {
            if !seen.contains(&&image.id) {
                outln!("{}", id(&image.id, args.no_trunc));
                seen.push(&image.id);
            }
        }
        return Ok(0);
    }
    if let Some(format) = &args.format {
        let format = Format::parse(format).map_err(Failure::Usage)?;
        let records: Vec<Value> = images.iter().map(|image| record(image, args.no_trunc)).collect();
        raw!("{}", format.render_of("IMAGE", &records).map_err(Failure::Local)?);
        return Ok(0);
    }
    let mut titles = vec!["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"];
    if args.digests {
        titles.insert(2, "DIGEST");
    }
    let mut table = Table::new(&titles);
    for image in &images {
        let tag = if image.tag.is_empty() { "<none>" } else { &image.tag };
        let mut row = vec![
            image.repository.clone(),
            tag.to_owned(),
            id(&image.id, args.no_trunc),
            ago(image.created),
            human_size(image.size),
        ];
        if args.digests {
            row.insert(2, image.digest.clone());
        }
        table.row(row);
    }
    out!("{}", table.render());
    Ok(0)
}

/// docker's fields.
fn record(image: &v1::Image, whole: bool) -> Value {
    json!({
        "ID": id(&image.id, whole),
        "Repository": image.repository,
        "Tag": if image.tag.is_empty() { "<none>" } else { &image.tag },
        "Digest": image.digest,
        "CreatedAt": stamp(image.created),
        "CreatedSince": ago(image.created),
        "Size": human_size(image.size),
        "Containers": "N/A",
        "SharedSize": "N/A",
        "UniqueSize": "N/A",
    })
}

/// docker's twelve digits of an image's id.
pub fn id(id: &str, whole: bool) -> String {
    match id.split_once(':') {
        Some((_, hex)) if !whole => hex.chars().take(12).collect(),
        _ => id.to_owned(),
    }
}
