//! The shim's program; the library is what does it.

fn main() -> std::process::ExitCode {
    containerd_shim_runtimed_v2::main()
}
