//! Runs the gates on instruction counts, as `cargo bench -p perf --bench gates` does: they need the release profile, which a
//! test is not built with, and Debian's package valgrind.

use std::process::Command;

#[test]
fn no_gate_is_exceeded() {
    let output = Command::new(env!("CARGO"))
        .args(["bench", "--locked", "--package", "perf", "--bench", "gates"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    let table = String::from_utf8_lossy(&output.stdout);
    println!("{table}");
    assert!(output.status.success(), "{table}\n{}", String::from_utf8_lossy(&output.stderr));
}
