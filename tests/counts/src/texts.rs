//! Filters, references, and containers' output.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Result, ensure};
use filters::{Fields, Filters};
use ids::Reference;

/// A record as the container service has them.
struct Record {
    id: String,
    labels: BTreeMap<String, String>,
}

impl Fields for Record {
    fn field(&self, path: &[&str]) -> Option<String> {
        match path {
            ["id"] => Some(self.id.clone()),
            ["labels", rest @ ..] => filters::map_field(&self.labels, rest),
            _ => None,
        }
    }
}

/// What a list with a filter does.
pub fn filter(times: u32) -> Result<()> {
    let records: Vec<Record> = (0..100)
        .map(|number| Record {
            id: format!("c{number}"),
            labels: BTreeMap::from([("tier".to_owned(), format!("t{}", number % 3))]),
        })
        .collect();
    for _ in 0..times {
        let filters = Filters::parse(black_box(&["labels.tier==t1,id~=/c[0-9]+/", "labels.\"a.b\"==c"]))?;
        let found = records.iter().filter(|record| filters.matches(*record)).count();
        ensure!(found == 33, "{found} records match");
    }
    Ok(())
}

/// What every command that names an image does.
pub fn reference(times: u32) -> Result<()> {
    for _ in 0..times {
        black_box(Reference::parse(black_box("registry.example:5000/team/app:v1.2.3"))?);
    }
    Ok(())
}

/// What the shim does with output.
pub fn log(times: u32) -> Result<()> {
    let output = output();
    let pieces: Vec<&[u8]> = output.chunks(4096).collect();
    for _ in 0..times {
        black_box(containerd_shim_runtimed_v2::doors::records(&pieces, UNIX_EPOCH + Duration::from_secs(1)));
    }
    Ok(())
}

/// What `logs` does.
pub fn read_log(times: u32) -> Result<()> {
    let pieces = [output()];
    let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
    let log = containerd_shim_runtimed_v2::doors::records(&pieces, UNIX_EPOCH + Duration::from_secs(1));
    for _ in 0..times {
        let lines = logs::doors::records(black_box(&log), 64 << 10);
        ensure!(lines.len() == 1000, "{} lines were read", lines.len());
    }
    Ok(())
}

fn output() -> Vec<u8> {
    (0..1000)
        .flat_map(|number| format!("line {number} of what a program has to say\n").into_bytes())
        .collect()
}
