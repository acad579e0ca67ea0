//! Layers.

use std::hint::black_box;
use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use diff::{Compression, Limits};

const FILES: u32 = 200;

/// Headers, data, limits, as when it is applied.
pub fn read(times: u32) -> Result<()> {
    scan(&layer()?, Compression::None, times)
}

/// The same through gzip.
pub fn read_gzip(times: u32) -> Result<()> {
    let mut gzip = Command::new("gzip")
        .args(["--stdout", "--no-name"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("run gzip")?;
    gzip.stdin.take().context("gzip's stdin")?.write_all(&layer()?)?;
    scan(&gzip.wait_with_output()?.stdout, Compression::Gzip, times)
}

fn scan(layer: &[u8], compression: Compression, times: u32) -> Result<()> {
    for _ in 0..times {
        let scanned = diff::scan(black_box(layer), compression, &Limits::default())?;
        ensure!(scanned.entries == u64::from(FILES), "{} entries were read", scanned.entries);
    }
    Ok(())
}

fn layer() -> Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    for number in 0..FILES {
        let text = format!("file {number}\n").repeat(40);
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, format!("usr/share/doc/package-{number}/copyright"), text.as_bytes())?;
    }
    Ok(tar.into_inner()?)
}
