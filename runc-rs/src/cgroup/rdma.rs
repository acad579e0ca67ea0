//! Controller rdma, the same on both versions (Documentation/admin-guide/cgroup-v1/rdma.rst).

use std::path::Path;

use oci::runtime::{LinuxRdma, LinuxResources};

use super::{Error, Result, file};

/// Applies `rdma`.
pub fn set(dir: Option<&Path>, resources: &LinuxResources) -> Result<()> {
    for (device, limit) in resources.rdma().iter().flatten() {
        let missing = || Error::NoController { controller: "rdma".into(), what: format!("rdma {device}") };
        let dir = dir.ok_or_else(missing)?;
        match file::write(dir, "rdma.max", &line(device, limit)) {
            Err(e) if e.is_not_found() => return Err(missing()),
            done => done?,
        }
    }
    Ok(())
}

/// `mlx5_0 hca_handle=2 hca_object=2000`
fn line(device: &str, limit: &LinuxRdma) -> String {
    let handles = limit.hca_handles().map(|n| format!(" hca_handle={n}"));
    let objects = limit.hca_objects().map(|n| format!(" hca_object={n}"));
    format!("{device}{}{}", handles.unwrap_or_default(), objects.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let limit: LinuxRdma = serde_json::from_str(r#"{"hcaHandles":2,"hcaObjects":3}"#).unwrap();
        assert_eq!(line("mlx5_0", &limit), "mlx5_0 hca_handle=2 hca_object=3");
        assert_eq!(line("mlx5_0", &LinuxRdma::default()), "mlx5_0");
    }
}
