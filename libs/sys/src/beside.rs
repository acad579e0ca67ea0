//! Threads that work beside the one that makes them.
//!
//! A kernel may begin a new thread on the processor of its maker, where it waits until that one sleeps: Linux does where it keeps what is
//! short together (to let other processors sleep), and where no processor looks idle at that instant. Then nothing is done beside anything.

use std::collections::BTreeSet;
use std::io;

use rustix::process::Pid;
use rustix::thread::{CpuSet, gettid, sched_getaffinity, sched_getcpu, sched_setaffinity};

/// Has `spawn` make a thread that begins on another processor than its maker is on, where this process may use another: it may only use
/// others then. It is for what ends soon; and what it starts inherits the limit. No other thread may make threads meanwhile: they would be
/// taken for the new one.
///
/// # Errors
/// Those of `spawn`.
pub fn begin<T>(spawn: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let Some(others) = others() else { return spawn() };
    let before = threads();
    let spawned = spawn()?;
    for new in threads().difference(&before) {
        // It runs all the same, only later.
        let _ = sched_setaffinity(Pid::from_raw(*new), &others);
    }
    Ok(spawned)
}

/// The processors that this thread may use but for the one that it is on; `None` where there are none.
fn others() -> Option<CpuSet> {
    let mut all = sched_getaffinity(None).ok()?;
    let own = sched_getcpu();
    if own < CpuSet::MAX_CPU {
        all.unset(own);
    }
    (all.count() > 0).then_some(all)
}

/// The threads of this process (proc_pid_task(5)); none where they cannot be seen.
fn threads() -> BTreeSet<i32> {
    if crate::clone::single_threaded().is_ok() {
        return BTreeSet::from([gettid().as_raw_nonzero().get()]);
    }
    let entries = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use std::thread::Builder;

    use super::*;

    #[test]
    fn a_thread_begins_where_its_maker_is_not() {
        let all = sched_getaffinity(None).unwrap().count();
        let (go, gone) = std::sync::mpsc::channel();
        let look = move || gone.recv().map(|()| sched_getaffinity(None).unwrap().count());
        let thread = begin(|| Builder::new().spawn(look)).unwrap();
        go.send(()).unwrap();
        let seen = thread.join().unwrap().unwrap();
        match all {
            1 => println!("a_thread_begins_where_its_maker_is_not: there is one processor only"),
            all => assert_eq!(seen, all - 1),
        }
        // Where there is no other it is made all the same. (In one test: a thread of another test would be taken for the new one.)
        let look = || sched_getaffinity(None).unwrap().count();
        let maker = std::thread::spawn(move || {
            let mut one = CpuSet::new();
            one.set(sched_getcpu());
            sched_setaffinity(None, &one).unwrap();
            begin(|| Builder::new().spawn(look)).unwrap().join().unwrap()
        });
        assert_eq!(maker.join().unwrap(), 1);
    }
}
