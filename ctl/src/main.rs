//! rctl's program; the library is what does it.

fn main() -> std::process::ExitCode {
    rctl::main()
}
