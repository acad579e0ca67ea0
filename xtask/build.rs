//! Tells xtask which processor it runs on, as target triples spell it.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-env=XTASK_ARCH={}", std::env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default());
}
