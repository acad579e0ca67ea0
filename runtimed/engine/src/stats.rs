//! Stats: what containers use, once or every second.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime};

use flows::{Flows, Line};
use ids::Namespace;
use proto_containerd::metrics;
use proto_engine::v1;
use tonic::Status;

use crate::caller::status;
use crate::convert::timestamp;
use crate::session::{Answers, answers};
use crate::system::memory_total;

/// docker's interval.
const INTERVAL: Duration = Duration::from_secs(1);

/// What is kept of a container between two rounds, for its share of CPU.
type Before = HashMap<String, (Instant, u64)>;

/// Sends rounds of samples: two of them, a second apart, when the request wants one, since a share of CPU takes two looks.
pub fn stats(
    flows: &Flows,
    namespace: Namespace,
    request: v1::StatsRequest,
) -> Result<Answers<v1::StatsResponse>, Status> {
    for id in &request.ids {
        flows.find(&namespace, id).map_err(status)?;
    }
    let flows = flows.clone();
    let (sender, answers) = answers();
    tokio::spawn(async move {
        let mut before = Before::new();
        let mut ticks = tokio::time::interval(INTERVAL);
        let mut round = 0u32;
        loop {
            ticks.tick().await;
            round += 1;
            let samples = samples(&flows, &namespace, &request, &mut before).await;
            if round == 1 && !request.stream {
                continue;
            }
            let failed = samples.is_err();
            let message = samples.map(|samples| v1::StatsResponse { samples });
            if sender.send(message).await.is_err() || failed || !request.stream {
                return;
            }
        }
    });
    Ok(answers)
}

async fn samples(
    flows: &Flows,
    namespace: &Namespace,
    request: &v1::StatsRequest,
    before: &mut Before,
) -> Result<Vec<v1::Sample>, Status> {
    let mut wanted = Vec::new();
    for id in &request.ids {
        match flows.find(namespace, id) {
            Ok(container) => wanted.push(container.id),
            // It was removed meanwhile.
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(status(error)),
        }
    }
    let mut samples = Vec::new();
    for line in flows.list(namespace).await.map_err(status)? {
        let asked = wanted.contains(&line.container.id);
        let all = request.ids.is_empty() && (request.all || line.is_running());
        if asked || all {
            samples.push(sample(flows, namespace, &line, before).await);
        }
    }
    Ok(samples)
}

/// A container that ends in the middle counts as one that uses nothing.
async fn sample(flows: &Flows, namespace: &Namespace, line: &Line, before: &mut Before) -> v1::Sample {
    let mut sample = v1::Sample {
        id: line.container.id.to_string(),
        name: line.name().to_owned(),
        read: Some(timestamp(SystemTime::now())),
        ..v1::Sample::default()
    };
    if !line.is_running() {
        return sample;
    }
    let Ok(any) = flows.rooms().tasks.stats(namespace, &line.container.id).await else { return sample };
    if let Ok(Some(v1)) = proto_containerd::unpack::<metrics::v1::Metrics>(&any) {
        fill_v1(&mut sample, &v1);
    } else if let Ok(Some(v2)) = proto_containerd::unpack::<metrics::v2::Metrics>(&any) {
        fill_v2(&mut sample, &v2);
    }
    let machine = memory_total();
    if sample.memory_limit == 0 || sample.memory_limit > machine {
        sample.memory_limit = machine;
    }
    let now = Instant::now();
    if let Some((then, usage)) = before.insert(sample.id.clone(), (now, sample.cpu_usage)) {
        let elapsed = now.duration_since(then).as_nanos() as f64;
        sample.cpu_percent = sample.cpu_usage.saturating_sub(usage) as f64 / elapsed.max(1.0) * 100.0;
    }
    sample
}

fn fill_v1(sample: &mut v1::Sample, metrics: &metrics::v1::Metrics) {
    if let Some(usage) = metrics.cpu.as_ref().and_then(|cpu| cpu.usage.as_ref()) {
        sample.cpu_usage = usage.total;
    }
    if let Some(memory) = &metrics.memory {
        let usage = memory.usage.unwrap_or_default();
        sample.memory_usage = usage.usage.saturating_sub(memory.total_inactive_file);
        sample.memory_limit = usage.limit;
    }
    sample.pids = metrics.pids.as_ref().map_or(0, |pids| pids.current);
    for entry in metrics.blkio.iter().flat_map(|blkio| &blkio.io_service_bytes_recursive) {
        match entry.op.to_ascii_lowercase().as_str() {
            "read" => sample.block_read += entry.value,
            "write" => sample.block_write += entry.value,
            _ => {}
        }
    }
    for network in &metrics.network {
        sample.network_received += network.rx_bytes;
        sample.network_sent += network.tx_bytes;
    }
}

fn fill_v2(sample: &mut v1::Sample, metrics: &metrics::v2::Metrics) {
    sample.cpu_usage = metrics.cpu.as_ref().map_or(0, |cpu| cpu.usage_usec * 1000);
    if let Some(memory) = &metrics.memory {
        sample.memory_usage = memory.usage.saturating_sub(memory.inactive_file);
        sample.memory_limit = memory.usage_limit;
    }
    sample.pids = metrics.pids.as_ref().map_or(0, |pids| pids.current);
    for entry in metrics.io.iter().flat_map(|io| &io.usage) {
        sample.block_read += entry.rbytes;
        sample.block_write += entry.wbytes;
    }
}
