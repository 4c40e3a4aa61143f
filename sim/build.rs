//! Names the symbols that the linker must wrap, and hands the list to every crate that depends on this one.
//!
//! madsim defines these itself, and a second definition does not link; `--wrap` lets ours come first.
//! A dependent's build script reads `DEP_BROWNOUT_SIM_LINK_ARGUMENTS` (see docs/bring-your-own-engine.md):
//! the flags must reach the final executable, and must not reach build scripts and proc macros.

const WRAPPED: [&str; 9] = [
    "clock_gettime",
    "dlsym",
    "getentropy",
    "gethostname",
    "getrandom",
    "gettimeofday",
    "pthread_attr_init",
    "sched_getaffinity",
    "sysconf",
];

fn main() {
    let arguments: Vec<String> = WRAPPED.iter().map(|symbol| format!("-Wl,--wrap={symbol}")).collect();
    for argument in &arguments {
        println!("cargo::rustc-link-arg={argument}");
    }
    println!("cargo::metadata=link_arguments={}", arguments.join(" "));
    println!("cargo::rerun-if-changed=build.rs");
}
