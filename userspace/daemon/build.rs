//! Builds the kernel half and leaves its object in `OUT_DIR`, where `kernel` includes it.
//!
//! The BPF target has no prebuilt `core`, so the toolchain must have the standard library's sources:
//! `CALLGATE_BPF_TOOLCHAIN` if set, else a nightly that has them, else `debian-web`, the name under which
//! `scripts/setup` links Debian's own compiler.

use std::path::Path;
use std::process::Command;

use anyhow::Context as _;
use aya_build::{Package, Toolchain};

const CHOICE: &str = "CALLGATE_BPF_TOOLCHAIN";
const DEBIAN: &str = "debian-web";

fn main() -> anyhow::Result<()> {
    println!("cargo:rerun-if-env-changed={CHOICE}");
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../ebpf");
    for part in ["program", "shared"] {
        println!("cargo:rerun-if-changed={root}/{part}/src");
    }
    let toolchain = match std::env::var(CHOICE) {
        Ok(name) => name,
        Err(_) if has_sources("nightly") => "nightly".to_owned(),
        Err(_) => DEBIAN.to_owned(),
    };
    // SAFETY: a build script of one thread, before any other code reads the environment.
    unsafe { std::env::set_var("RUSTC_BOOTSTRAP", "1") };
    let package = Package { name: "callgate-ebpf", root_dir: root, ..Package::default() };
    aya_build::build_ebpf([package], Toolchain::Custom(&toolchain)).with_context(|| {
        format!("cannot build the kernel half with toolchain `{toolchain}`: run scripts/setup")
    })
}

/// Whether a toolchain is installed with the standard library's sources.
fn has_sources(toolchain: &str) -> bool {
    let sysroot = Command::new("rustup").args(["run", toolchain, "rustc", "--print", "sysroot"]).output();
    sysroot.is_ok_and(|output| {
        let root = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        output.status.success() && Path::new(&root).join("lib/rustlib/src/rust/library/core").is_dir()
    })
}
