//! Marks: named steps of a flow. Each is a fault point and a span of a trace at once, and free when both are off: one relaxed load.
//!
//! ```ignore
//! let mut step = marks::step("flows.create.name")?;   // may fail, or die, here; a span begins
//! ...
//! step.next("flows.create.record")?;                  // that span ends, the next begins
//! ...
//! let last = marks::begun("flows.create.tell");       // a step that may die or be held up, but not fail
//! marks::passed("flows.create.done");                 // the same without a span: what it names is done
//! ```
//!
//! A name is `<program or room>.<verb>.<step>`, and stands once in the whole source: `cargo xtask tidy` checks both.
//! Faults are switched on from outside by [`FAULTS`] (see [`fault`]), traces by a request (see [`trace`]). Nothing here knows an async
//! runtime: an executor that forks uses it as well.

pub mod fault;
pub mod trace;
mod traces;

use std::os::fd::RawFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

pub use fault::{FAULTS, Fault};
pub use trace::{TRACE, Trace, carry, carry_call, current, pass_on, scope, within};
pub use traces::Traces;

/// [`FAULT_BIT`], plus the number of open traces. Zero: every mark is free.
pub(crate) static ON: AtomicU32 = AtomicU32::new(0);
pub(crate) const FAULT_BIT: u32 = 1 << 31;
static PROGRAM: OnceLock<&'static str> = OnceLock::new();

/// A step under way; its span ends when this is dropped.
#[derive(Debug)]
#[must_use = "a step lasts as long as this is held"]
pub struct Step {
    span: Option<trace::Span>,
}

/// Names this program, and takes over what the environment says of faults. To be called once, before the first mark; says whether fault
/// points are switched on, which a program should log.
pub fn init(program: &'static str) -> bool {
    // A second call changes nothing.
    let _ = PROGRAM.set(program);
    fault::init()
}

/// What marks write to: for a process that closes all else before it executes another program. Closed on exec.
pub fn descriptors() -> impl Iterator<Item = RawFd> {
    fault::descriptor().into_iter().chain(trace::descriptor())
}

/// Begins a step, unless a fault is armed here.
///
/// # Errors
/// The fault that is armed.
#[inline]
pub fn step(name: &'static str) -> Result<Step, Fault> {
    match ON.load(Ordering::Relaxed) {
        0 => Ok(Step { span: None }),
        on => begin(name, on),
    }
}

/// A point that is behind: what it names is done. A program may die or be held up here, but not fail.
#[inline]
pub fn passed(name: &'static str) {
    let on = ON.load(Ordering::Relaxed);
    if on != 0 {
        pass(name, on);
    }
}

/// Begins a step that cannot fail, since there is nobody to tell: a program may only die or be held up here.
#[inline]
pub fn begun(name: &'static str) -> Step {
    // A fault of a kind that this step cannot have is let go, and the step goes untraced.
    step(name).unwrap_or(Step { span: None })
}

impl Step {
    /// Ends this step and begins the next.
    ///
    /// # Errors
    /// The fault that is armed there.
    #[inline]
    pub fn next(&mut self, name: &'static str) -> Result<(), Fault> {
        self.span = None;
        *self = step(name)?;
        Ok(())
    }
}

#[cold]
fn begin(name: &'static str, on: u32) -> Result<Step, Fault> {
    if on & FAULT_BIT != 0 {
        fault::hit(name)?;
    }
    Ok(Step { span: trace::begin(name) })
}

#[cold]
fn pass(name: &'static str, on: u32) {
    if on & FAULT_BIT != 0 {
        // The kinds of fault that a point which is behind cannot have are let go.
        let _ = fault::hit(name);
    }
    drop(trace::begin(name));
}

pub(crate) fn program() -> &'static str {
    PROGRAM.get().copied().unwrap_or("unnamed")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nothing switches faults on in this process.
    #[test]
    fn nothing_happens_when_off() {
        let mut step = step("marks.test.first").unwrap();
        step.next("marks.test.second").unwrap();
        passed("marks.test.third");
        assert!(step.span.is_none());
    }
}
