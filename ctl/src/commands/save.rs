//! `rctl save`.

use std::io::Write;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use proto_engine::v1;

use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::output::progress::Written;
use crate::terminal;

/// Flags of `save`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Write to this file, instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Save only this platform
    #[arg(long, default_value = "")]
    platform: String,
    /// The images
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

/// Writes images as one archive. A file appears under its name only once it is whole.
pub async fn run(context: &Context, args: Args) -> Result<u8> {
    if args.output.is_none() && terminal::stdout_is_terminal() {
        return Err(Failure::Usage(
            "cowardly refusing to save to a terminal. Use the -o flag or redirect".to_owned(),
        ));
    }
    if let Some(path) = &args.output {
        check_output(path)?;
    }
    let client = context.client().await?;
    let request = v1::SaveRequest { images: args.images.clone(), platform: args.platform.clone() };
    let chunks = client.engine_images().save(request).await?.into_inner();
    match &args.output {
        None => copy(chunks, &mut std::io::stdout().lock()).await?,
        Some(path) => {
            let partial = partial(path);
            let failed = |error| Failure::local(format!("write {}", partial.display()), error);
            let mut file = std::fs::File::create(&partial).map_err(failed)?;
            let mut shown = Written::new();
            let written = copy(chunks, &mut Counted { file: &mut file, shown: &mut shown }).await;
            let kept = written.and_then(|()| {
                file.sync_all().map_err(failed)?;
                std::fs::rename(&partial, path)
                    .map_err(|error| Failure::local(format!("rename to {}", path.display()), error))
            });
            if kept.is_err() {
                // The partial file is of no use, whether or not it can be removed.
                let _ = std::fs::remove_file(&partial);
            }
            kept?;
            shown.finish(&path.display().to_string());
        }
    }
    Ok(0)
}

/// A file whose growth is shown.
struct Counted<'a> {
    file: &'a mut std::fs::File,
    shown: &'a mut Written,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let length = self.file.write(bytes)?;
        self.shown.add(length as u64);
        Ok(length)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

async fn copy(mut chunks: tonic::Streaming<v1::SaveResponse>, out: &mut impl Write) -> Result<()> {
    while let Some(chunk) = chunks.message().await? {
        out.write_all(&chunk.data).map_err(|error| Failure::local("write the archive", error))?;
    }
    out.flush().map_err(|error| Failure::local("write the archive", error))
}

/// Refuses what a file would take the place of that is none, such as a device, in docker's words.
fn check_output(path: &Path) -> Result<()> {
    let invalid = |text: String| Failure::Local(format!("failed to save image: invalid output path: {text}"));
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder.filter(|folder| std::fs::metadata(folder).is_err_and(is_missing)) {
        return Err(invalid(format!("directory {:?} does not exist", folder.display().to_string())));
    }
    // What cannot be looked at cannot be written either, which says why.
    let Ok(kind) = std::fs::metadata(path).map(|found| found.file_type()) else { return Ok(()) };
    if kind.is_file() || kind.is_dir() {
        return Ok(());
    }
    let got = if kind.is_char_device() || kind.is_block_device() { "a device" } else { "an irregular file" };
    let path = path.display().to_string();
    Err(invalid(format!("{path:?} must be a directory or a regular file: got {got}")))
}

fn is_missing(error: std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::NotFound
}

fn partial(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}.partial", std::process::id()))
}
