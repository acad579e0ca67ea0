//! rctl's program; the library is what does it.

#[global_allocator]
static HEAP: sys::heap::Heap = sys::heap::Heap;

fn main() -> std::process::ExitCode {
    rctl::main()
}
