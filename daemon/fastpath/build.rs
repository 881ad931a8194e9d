//! Compiles the kernel's program, `bpf/forward.c`, with clang: the compiler that the kernel's own BPF programs are built with.

use std::{
    env,
    path::PathBuf,
    process::{Command, exit},
};

/// Debian installs clang by its version unless asked otherwise; the newest that is there is taken.
const VERSIONS: std::ops::RangeInclusive<u32> = 13..=24;

fn main() {
    println!("cargo::rerun-if-changed=bpf/forward.c");
    println!("cargo::rerun-if-env-changed=POSTERN_CLANG");
    let object = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("forward.o");
    let arch = env::var("CARGO_CFG_TARGET_ARCH").expect("cargo sets it");
    let named = env::var("POSTERN_CLANG").ok();
    let clang = named.into_iter().chain(["clang".into()]).chain(VERSIONS.rev().map(|n| format!("clang-{n}")));
    let clang =
        clang.into_iter().find(|name| Command::new(name).arg("--version").output().is_ok_and(|o| o.status.success()));
    let Some(clang) = clang else {
        fail(
            "clang is missing: it compiles the kernel's fast path. On Debian: apt-get install clang (or daemon/sim/tools/setup build); elsewhere set POSTERN_CLANG to it",
        );
    };
    // -g makes the types that the kernel wants for a map with a lock. asm/types.h lies where Debian puts one machine's headers.
    let output = Command::new(&clang)
        .args(["-O2", "-g", "-Wall", "-Wextra", "-Werror", "-target", "bpf", "-mcpu=v3"])
        .arg(format!("-idirafter/usr/include/{arch}-linux-gnu"))
        .args(["-c", "bpf/forward.c", "-o"])
        .arg(&object)
        .output();
    match output {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            fail(&format!(
                "{clang} could not compile bpf/forward.c (the kernel's headers are in linux-libc-dev):\n{}",
                String::from_utf8_lossy(&output.stderr)
            ));
        }
        Err(error) => fail(&format!("{clang}: {error}")),
    }
}

fn fail(why: &str) -> ! {
    for line in why.lines() {
        println!("cargo::error={line}");
    }
    exit(1)
}
