//! What an executor that stands by does while it waits: the way to a plan, once, for a container that nobody asked for. It changes nothing;
//! but the code and the memory that the way takes are in place when it is gone for the second time, and the kernel need not fetch them page
//! by page then.

use std::path::Path;

use crate::cgroup;
use crate::plan::{self, Choices};
use crate::procfs::Procfs;
use crate::spec;

/// Goes the way. That it cannot be gone is told whoever has to go it.
pub fn go() {
    let choices = Choices { await_start: false, ..Choices::of_this_process() };
    let text = oci::runtime::default_spec_json(false);
    let Ok(spec) = spec::parse(text.as_bytes(), Path::new("config.json")) else { return };
    let planned = plan::create("rehearsal", Path::new("/"), &spec, &choices);
    std::hint::black_box(planned.is_ok());
    // A manager makes nothing until it is told to.
    let manager = cgroup::manager(Some(Path::new("/rehearsal")), "rehearsal", None);
    std::hint::black_box(manager.is_ok());
    drop(Procfs::open());
}
