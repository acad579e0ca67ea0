//! Shares of cache and memory bandwidth (config-linux.md, "IntelRdt").

use oci::runtime::Spec;

use crate::error::{Error, Result};

/// What config.json asks of the resource control file system.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resctrl {
    /// The container's id.
    pub id: String,
    /// `closID`: a group that may be shared with others, and outlives the container.
    pub clos_id: Option<String>,
    /// Lines for the group's `schemata`.
    pub schemata: Vec<String>,
    /// Whether the container is counted in a monitoring group of its own.
    pub monitoring: bool,
}

impl Resctrl {
    /// The group's name: that of its class of service, or the container's id.
    pub fn group(&self) -> &str {
        self.clos_id.as_deref().unwrap_or(&self.id)
    }
}

/// Reads `linux.intelRdt`.
#[allow(deprecated, reason = "documents of older releases still ask for monitoring by the old names")]
pub fn from_spec(spec: &Spec, id: &str) -> Result<Option<Resctrl>> {
    let Some(rdt) = spec.linux().as_ref().and_then(|l| l.intel_rdt().clone()) else { return Ok(None) };
    let clos_id = rdt.clos_id().clone().filter(|id| !id.is_empty());
    if let Some(name) = &clos_id
        && (name == "." || name == ".." || name.contains(['/', '\n', '\0']))
    {
        return Err(Error::new(format!("invalid intelRdt.ClosID {name:?}")));
    }
    let schemata = match rdt.schemata().clone().unwrap_or_default() {
        lines if !lines.is_empty() => lines,
        _ => legacy(rdt.l3_cache_schema().as_deref(), rdt.mem_bw_schema().as_deref()),
    };
    let old = rdt.enable_cmt().unwrap_or(false) || rdt.enable_mbm().unwrap_or(false);
    let monitoring = rdt.enable_monitoring().unwrap_or(false) || old;
    Ok(Some(Resctrl { id: id.to_owned(), clos_id, schemata, monitoring }))
}

/// The lines of the two older fields. A memory bandwidth line in the field for cache would come out twice.
fn legacy(cache: Option<&str>, bandwidth: Option<&str>) -> Vec<String> {
    let lines = |text: Option<&str>| {
        let lines = text.unwrap_or_default().lines().map(str::trim).filter(|l| !l.is_empty());
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let mut all: Vec<String> = lines(cache).into_iter().filter(|line| !line.starts_with("MB:")).collect();
    all.extend(lines(bandwidth));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Option<Resctrl>> {
        let text = format!(r#"{{"ociVersion":"1.3.0","linux":{{"intelRdt":{json}}}}}"#);
        from_spec(&serde_json::from_str(&text).unwrap(), "c1")
    }

    #[test]
    fn groups_and_lines() {
        let all = read(r#"{"closID":"gold","l3CacheSchema":"L3:0=f\nMB:0=10","memBwSchema":"MB:0=70"}"#);
        let all = all.unwrap().unwrap();
        assert_eq!(all.group(), "gold");
        assert_eq!(all.schemata, ["L3:0=f", "MB:0=70"]);
        let all = read(r#"{"schemata":["L2:0=1"],"l3CacheSchema":"L3:0=f","enableMonitoring":true}"#);
        let all = all.unwrap().unwrap();
        assert_eq!((all.group(), all.monitoring, all.schemata.len()), ("c1", true, 1));
    }

    #[test]
    fn a_group_is_no_path() {
        for bad in ["..", ".", "a/b"] {
            let e = read(&format!(r#"{{"closID":"{bad}"}}"#)).unwrap_err().to_string();
            assert_eq!(e, format!("invalid intelRdt.ClosID {bad:?}"));
        }
    }
}
