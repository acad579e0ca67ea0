//! Our own log: output is kept in the CRI format, and handed to attached clients.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use super::attach::Hub;
use crate::cri_log::{Framer, LogFile, Stream};
use crate::log;
use crate::sync::lock;

/// A log that both outputs of a process are written to.
pub(super) type SharedLog = Arc<Mutex<LogFile>>;

/// One output on its way into the log.
pub(super) struct Writer {
    stream: Stream,
    framer: Framer,
    log: SharedLog,
    hub: Option<Arc<Hub>>,
    failed: bool,
}

impl Writer {
    pub(super) fn new(stream: Stream, log: SharedLog, hub: Option<Arc<Hub>>) -> Writer {
        Writer { stream, framer: Framer::new(stream), log, hub, failed: false }
    }

    /// Keeps the output, then passes it on to whoever is attached.
    pub(super) async fn write(&mut self, output: &[u8]) {
        let result = {
            let mut log = lock(&self.log);
            let mut result = Ok(());
            self.framer.feed(SystemTime::now(), output, |record| {
                result = std::mem::replace(&mut result, Ok(())).and(log.append(record));
            });
            result.and(log.flush())
        };
        self.judge(result);
        if let Some(hub) = &self.hub {
            hub.broadcast(self.stream, output).await;
        }
    }

    /// The output has ended: the beginning of a line is kept, too.
    fn finish(&mut self) {
        let result = {
            let mut log = lock(&self.log);
            let mut result = Ok(());
            self.framer.finish(SystemTime::now(), |record| result = log.append(record));
            result.and(log.flush())
        };
        self.judge(result);
    }

    fn judge(&mut self, result: io::Result<()>) {
        match result {
            Ok(()) => self.failed = false,
            // Told once for a disk that stays full.
            Err(error) if !std::mem::replace(&mut self.failed, true) => {
                log::error!("output is lost: {error}")
            }
            Err(_) => {}
        }
    }
}

impl Drop for Writer {
    /// However the copying ends, nothing that was read is lost.
    fn drop(&mut self) {
        self.finish();
    }
}
