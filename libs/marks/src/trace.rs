//! Traces: the spans of one request, gathered from every program that it passes.
//!
//! A program that has a trace open adds a line for each step when it ends: `<program> <pid> <mark> <start> <end>`, times in
//! nanoseconds of CLOCK_MONOTONIC, which all programs of a machine share. The trace that a step belongs to is that of the future which
//! is being polled (see [`scope`] and [`carry`]), else that of the process (see [`adopt`]). It crosses into a program that is started
//! by the environment's [`TRACE`], and into one that runs by whatever the protocol between them has for it.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};

use rustix::fs::OFlags;
use rustix::time::{ClockId, clock_gettime};

use crate::{FAULT_BIT, ON, program};

/// The variable that names the file.
pub const TRACE: &str = "RUNTIMED_TRACE";
/// The name by which a request carries its trace: an id in gRPC's metadata, the file in that of ttrpc.
pub const HEADER: &str = "runtimed-trace";
/// The most bytes of one trace; what comes later is left out.
pub const LIMIT: u64 = 1 << 20;

/// An open trace. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Trace(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    sink: Sink,
    closed: AtomicBool,
}

#[derive(Debug)]
enum Sink {
    File { file: File, path: PathBuf },
    Memory(Mutex<Vec<u8>>),
}

/// A step of a trace under way.
#[derive(Debug)]
pub(crate) struct Span {
    trace: Trace,
    name: &'static str,
    start: u64,
}

/// The trace of the whole process.
static PROCESS: OnceLock<Trace> = OnceLock::new();

thread_local! {
    static CURRENT: RefCell<Option<Trace>> = const { RefCell::new(None) };
}

impl Trace {
    /// Adds to a file that is there.
    ///
    /// # Errors
    /// Those of open(2): a trace that was fetched is gone.
    pub fn open(path: &Path) -> io::Result<Trace> {
        let flags = OFlags::NOFOLLOW.bits() as i32;
        let file = File::options().append(true).custom_flags(flags).open(path)?;
        Ok(Trace::new(Sink::File { file, path: path.to_owned() }))
    }

    /// Kept in memory, for the program that asked for the trace.
    pub fn in_memory() -> Trace {
        Trace::new(Sink::Memory(Mutex::default()))
    }

    fn new(sink: Sink) -> Trace {
        // Far fewer than half of all numbers are open at once.
        ON.fetch_add(1, Ordering::Relaxed);
        Trace(Arc::new(Inner { sink, closed: AtomicBool::new(false) }))
    }

    /// The file, for a program that is to add to it as well.
    pub fn path(&self) -> Option<&Path> {
        match &self.0.sink {
            Sink::File { path, .. } => Some(path),
            Sink::Memory(_) => None,
        }
    }

    /// What was gathered in memory so far.
    pub fn gathered(&self) -> Vec<u8> {
        match &self.0.sink {
            Sink::Memory(lines) => lines.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            Sink::File { .. } => Vec::new(),
        }
    }

    /// Nothing is added from now on, whoever holds it.
    pub fn close(&self) {
        self.0.close();
    }

    /// The whole process belongs to it from now on, but for futures with a trace of their own.
    pub fn adopt(self) {
        // The first one stays.
        let _ = PROCESS.set(self);
    }

    fn add(&self, line: &str) {
        if self.0.closed.load(Ordering::Relaxed) {
            return;
        }
        match &self.0.sink {
            Sink::File { file, .. } => {
                let room = file.metadata().is_ok_and(|meta| meta.len() + line.len() as u64 <= LIMIT);
                if room {
                    // A span that is lost spoils a picture, never a flow.
                    let _ = (&*file).write_all(line.as_bytes());
                }
            }
            Sink::Memory(lines) => {
                let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
                if lines.len() as u64 + line.len() as u64 <= LIMIT {
                    lines.extend_from_slice(line.as_bytes());
                }
            }
        }
    }
}

impl Inner {
    fn close(&self) {
        if !self.closed.swap(true, Ordering::Relaxed) {
            ON.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        let (pid, end) = (std::process::id(), now());
        self.trace.add(&format!("{} {pid} {} {} {end}\n", program(), self.name, self.start));
    }
}

/// CLOCK_MONOTONIC in nanoseconds.
pub fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

/// The trace that the environment names, if it is there: for programs that are started for one request.
pub fn from_environment() -> Option<Trace> {
    let path = std::env::var_os(TRACE).filter(|path| !path.is_empty())?;
    Trace::open(Path::new(&path)).ok()
}

/// [`from_environment`], for the whole process.
pub fn adopt() {
    if let Some(trace) = from_environment() {
        trace.adopt();
    }
}

/// The file of the process's trace.
pub(crate) fn descriptor() -> Option<RawFd> {
    match &PROCESS.get()?.0.sink {
        Sink::File { file, .. } => Some(file.as_raw_fd()),
        Sink::Memory(_) => None,
    }
}

/// The trace that steps of this moment belong to.
pub fn current() -> Option<Trace> {
    if ON.load(Ordering::Relaxed) & !FAULT_BIT == 0 {
        return None;
    }
    CURRENT.with(|current| current.borrow().clone()).or_else(|| PROCESS.get().cloned())
}

pub(crate) fn begin(name: &'static str) -> Option<Span> {
    current().map(|trace| Span { trace, name, start: now() })
}

/// Tells a program that is about to be started which trace it belongs to: that of this moment, or none.
pub fn pass_on(command: &mut Command) {
    match current().as_ref().and_then(Trace::path) {
        Some(path) => {
            command.env(TRACE, path);
        }
        None if std::env::var_os(TRACE).is_some() => {
            command.env_remove(TRACE);
        }
        None => {}
    }
}

/// A future whose steps belong to a trace.
#[derive(Debug)]
pub struct Scope<F> {
    trace: Option<Trace>,
    future: Pin<Box<F>>,
}

/// Runs `future` under `trace`. What it spawns must be carried along by [`carry`].
pub fn scope<F: Future>(trace: Option<Trace>, future: F) -> Scope<F> {
    Scope { trace, future: Box::pin(future) }
}

/// Takes the trace of this moment along into a future that is to be spawned.
pub fn carry<F: Future>(future: F) -> Scope<F> {
    scope(current(), future)
}

/// Takes the trace of this moment along into work for another thread.
pub fn carry_call<T>(work: impl FnOnce() -> T) -> impl FnOnce() -> T {
    let trace = current();
    move || within(trace, work)
}

impl<F: Future> Future for Scope<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let _inside = self.trace.clone().map(Inside::enter);
        self.future.as_mut().poll(context)
    }
}

/// Works for `trace`, such as one that came with a message from another task.
pub fn within<T>(trace: Option<Trace>, work: impl FnOnce() -> T) -> T {
    let _inside = trace.map(Inside::enter);
    work()
}

/// This thread works for a trace until this is dropped.
struct Inside(Option<Trace>);

impl Inside {
    fn enter(trace: Trace) -> Inside {
        Inside(CURRENT.with(|current| current.borrow_mut().replace(trace)))
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        let before = self.0.take();
        CURRENT.with(|current| *current.borrow_mut() = before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step;

    fn names(trace: &Trace) -> Vec<String> {
        let text = String::from_utf8(trace.gathered()).unwrap();
        text.lines().map(|line| line.split(' ').nth(2).unwrap().to_owned()).collect()
    }

    fn poll_once<F: Future + Unpin>(mut future: F) {
        let mut context = Context::from_waker(std::task::Waker::noop());
        assert!(Pin::new(&mut future).poll(&mut context).is_ready());
    }

    #[test]
    fn steps_belong_to_the_future_that_is_polled() {
        let (one, two) = (Trace::in_memory(), Trace::in_memory());
        poll_once(scope(Some(one.clone()), async {
            let mut outer = step("trace.test.outer").unwrap();
            poll_once(scope(Some(two.clone()), async { drop(step("trace.test.other").unwrap()) }));
            carry_call(|| drop(step("trace.test.inner").unwrap()))();
            outer.next("trace.test.next").unwrap();
        }));
        drop(step("trace.test.outside").unwrap());
        assert_eq!(names(&one), ["trace.test.inner", "trace.test.outer", "trace.test.next"]);
        assert_eq!(names(&two), ["trace.test.other"]);
        one.close();
        poll_once(scope(Some(one.clone()), async { drop(step("trace.test.late").unwrap()) }));
        assert_eq!(names(&one).len(), 3);
    }

    #[test]
    fn a_file_is_added_to_up_to_its_limit_and_never_made() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trace");
        assert!(Trace::open(&path).is_err());
        std::fs::write(&path, vec![b'\n'; LIMIT as usize - 10]).unwrap();
        let trace = Trace::open(&path).unwrap();
        trace.add("short\n");
        trace.add("too long\n");
        assert!(std::fs::read_to_string(&path).unwrap().ends_with("\n\nshort\n"));
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(Trace::open(&link).is_err());
    }
}
