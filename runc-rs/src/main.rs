//! The executor's program; the library is what does it.

fn main() -> std::process::ExitCode {
    runc_rs::main()
}
