//! Container output as it is kept.

use std::time::{Duration, SystemTime};

use containerd_shim_runtimed_v2::doors;

/// A log that anybody may have written: however it is cut, its records are the same, and no more than was written.
pub fn cri_log(bytes: &[u8]) {
    let [step, log @ ..] = bytes else { return };
    let whole = logs::doors::records(log, usize::MAX);
    let pieces = logs::doors::records(log, usize::from(*step));
    let content = |lines: &[logs::Line]| lines.iter().map(|line| line.bytes.len()).sum::<usize>();
    assert!(content(&whole) <= log.len());
    if log.len() < 60_000 {
        assert_eq!(whole, pieces);
    }
}

/// What a container writes comes back to the byte, whatever it is.
pub fn cri_records(bytes: &[u8]) {
    let [step, output @ ..] = bytes else { return };
    let pieces: Vec<&[u8]> = output.chunks(usize::from(*step).max(1)).collect();
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let lines = logs::doors::records(&doors::records(&pieces, at), 4096);
    let mut back = Vec::with_capacity(output.len());
    for line in &lines {
        assert_eq!(line.time, at);
        back.extend_from_slice(&line.bytes);
        if !line.partial {
            back.push(b'\n');
        }
    }
    assert_eq!(back, output);
}
