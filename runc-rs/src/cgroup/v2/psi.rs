//! Pressure files (Documentation/accounting/psi.rst).

use std::path::Path;

use nix::errno::Errno;

use crate::cgroup::stats::{Psi, PsiData};
use crate::cgroup::{Result, file};

/// Reads a pressure file; `None` where the kernel has none or keeps it off.
pub fn read(dir: &Path, name: &str) -> Result<Option<Psi>> {
    let text = match file::read(dir, name) {
        Err(e) if e.is_not_found() || e.errno() == Some(Errno::EOPNOTSUPP) => return Ok(None),
        other => other?,
    };
    parse(&text).map(Some).ok_or_else(|| file::malformed(dir, name, "not pressure information"))
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, and the like for `full`.
fn parse(text: &str) -> Option<Psi> {
    let mut psi = Psi::default();
    for line in text.lines() {
        let (kind, figures) = line.split_once(' ')?;
        let data = match kind {
            "some" => &mut psi.some,
            "full" => &mut psi.full,
            _ => continue,
        };
        *data = parse_data(figures)?;
    }
    Some(psi)
}

fn parse_data(figures: &str) -> Option<PsiData> {
    let mut data = PsiData::default();
    for (key, value) in
        figures.split_ascii_whitespace().map(|figure| figure.split_once('=')).collect::<Option<Vec<_>>>()?
    {
        match key {
            "avg10" => data.avg10 = value.parse().ok()?,
            "avg60" => data.avg60 = value.parse().ok()?,
            "avg300" => data.avg300 = value.parse().ok()?,
            "total" => data.total = value.parse().ok()?,
            _ => {}
        }
    }
    Some(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_lines() {
        let text = "some avg10=1.50 avg60=0.00 avg300=0.00 total=7\nfull avg10=0.00 avg60=2.00 avg300=0.00 total=9\n";
        let psi = parse(text).unwrap();
        assert_eq!((psi.some.avg10, psi.some.total, psi.full.avg60), (1.5, 7, 2.0));
        assert_eq!(parse("some avg10"), None);
    }
}
