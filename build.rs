//! Puts the code that every start runs side by side in the binary: why, and where it applies, is in
//! `docs/decisions/start-order.md`.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The functions that starts were seen to run, one symbol a line; `scripts/order` writes it.
const ORDER: &str = "src/start-order.txt";
const TARGET: &str = "x86_64-unknown-linux-gnu";

fn main() {
    println!("cargo:rerun-if-changed={ORDER}");
    println!("cargo:rerun-if-changed=build.rs");
    let variable = |name| std::env::var(name).unwrap_or_default();
    let flags = variable("CARGO_ENCODED_RUSTFLAGS");
    let own_linker = !variable("RUSTC_LINKER").is_empty()
        || ["linker", "fuse-ld", "link-self-contained"].iter().any(|word| flags.contains(word));
    if variable("PROFILE") != "release" || variable("TARGET") != TARGET || own_linker || !links_with_lld() {
        return;
    }
    let order = Path::new(&variable("CARGO_MANIFEST_DIR")).join(ORDER);
    // Where the linker's map goes: `.ci/run` counts with it.
    println!("cargo:rerun-if-env-changed=PROEM_LINK_MAP");
    if let Ok(map) = std::env::var("PROEM_LINK_MAP") {
        println!("cargo:rustc-link-arg-bins=-Wl,--no-demangle,-Map={map}");
    }
    if order.exists() {
        println!("cargo:rustc-link-arg-bins=-Wl,--symbol-ordering-file={}", order.display());
        // A name that is no more moves nothing; `.ci/run` says how many there are.
        println!("cargo:rustc-link-arg-bins=-Wl,--no-warn-symbol-ordering");
    }
}

/// Whether rustc brings the lld that it links this target with by default since 1.90. A distribution's rustc may not,
/// and GNU ld refuses the flag.
fn links_with_lld() -> bool {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let Ok(said) = Command::new(rustc).args(["--print", "sysroot"]).output() else { return false };
    let Ok(sysroot) = String::from_utf8(said.stdout) else { return false };
    let host = std::env::var("HOST").unwrap_or_default();
    let lld: PathBuf = [sysroot.trim(), "lib/rustlib", &host, "bin/gcc-ld/ld.lld"].iter().collect();
    lld.exists()
}
