//! What a cgroup of either hierarchy says of a container, with `ctr`'s names.

use proto_containerd::metrics::{v1, v2};
use proto_containerd::types::Metric;
use serde_json::Value;

use super::metrics_json::Part;
use super::rfc3339;
use crate::failure::{Failure, Result};
use crate::output::table::Table;

/// Two tables, or the metrics themselves in JSON, as `ctr` prints them.
pub fn show(metric: &Metric, as_json: bool) -> Result<String> {
    if as_json {
        let text = serde_json::to_string_pretty(&whole(metric)?);
        return text.map(|text| text + "\n").map_err(|error| Failure::local("write JSON", error));
    }
    let values = values(metric)?;
    let mut head = Table::new(&["ID", "TIMESTAMP"]);
    head.row(vec![metric.id.clone(), rfc3339(metric.timestamp)]);
    let mut body = Table::new(&["METRIC", "VALUE"]);
    for (name, value) in values {
        body.row(vec![name.to_owned(), value.to_string()]);
    }
    Ok(format!("{}\n{}", head.render(), body.render()))
}

fn whole(metric: &Metric) -> Result<Value> {
    let broken = |error| Failure::local(format!("read the metrics of {}", metric.id), error);
    let Some(data) = &metric.data else { return Ok(Value::Null) };
    if let Some(metrics) = proto_containerd::unpack::<v1::Metrics>(data).map_err(broken)? {
        return Ok(metrics.value());
    }
    match proto_containerd::unpack::<v2::Metrics>(data).map_err(broken)? {
        Some(metrics) => Ok(metrics.value()),
        None => Err(Failure::Local(format!("metrics of an unknown kind: {}", data.type_url))),
    }
}

fn values(metric: &Metric) -> Result<Vec<(&'static str, u64)>> {
    let broken = |error| Failure::local(format!("read the metrics of {}", metric.id), error);
    let Some(data) = &metric.data else { return Ok(Vec::new()) };
    if let Some(metrics) = proto_containerd::unpack::<v1::Metrics>(data).map_err(broken)? {
        return Ok(first(metrics));
    }
    match proto_containerd::unpack::<v2::Metrics>(data).map_err(broken)? {
        Some(metrics) => Ok(second(metrics)),
        None => Err(Failure::Local(format!("metrics of an unknown kind: {}", data.type_url))),
    }
}

fn first(metrics: v1::Metrics) -> Vec<(&'static str, u64)> {
    let mut values = Vec::new();
    if let Some(memory) = metrics.memory {
        let usage = memory.usage.unwrap_or_default();
        values.push(("memory.usage_in_bytes", usage.usage));
        values.push(("memory.limit_in_bytes", usage.limit));
        values.push(("memory.stat.cache", memory.total_cache));
    }
    if let Some(usage) = metrics.cpu.and_then(|cpu| cpu.usage) {
        values.push(("cpuacct.usage", usage.total));
    }
    if let Some(pids) = metrics.pids {
        values.push(("pids.current", pids.current));
        values.push(("pids.limit", pids.limit));
    }
    values
}

fn second(metrics: v2::Metrics) -> Vec<(&'static str, u64)> {
    let mut values = Vec::new();
    if let Some(pids) = metrics.pids {
        values.push(("pids.current", pids.current));
        values.push(("pids.limit", pids.limit));
    }
    if let Some(cpu) = metrics.cpu {
        values.push(("cpu.usage_usec", cpu.usage_usec));
        values.push(("cpu.user_usec", cpu.user_usec));
        values.push(("cpu.system_usec", cpu.system_usec));
        values.push(("cpu.nr_periods", cpu.nr_periods));
        values.push(("cpu.nr_throttled", cpu.nr_throttled));
        values.push(("cpu.throttled_usec", cpu.throttled_usec));
    }
    if let Some(memory) = metrics.memory {
        values.push(("memory.usage", memory.usage));
        values.push(("memory.usage_limit", memory.usage_limit));
        values.push(("memory.swap_usage", memory.swap_usage));
        values.push(("memory.swap_limit", memory.swap_limit));
    }
    values
}
