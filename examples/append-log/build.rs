//! Hands the executables the linker flags that let the simulated machine answer for the C library, as crate `sim`
//! names them.

fn main() {
    let arguments = std::env::var("DEP_BROWNOUT_SIM_LINK_ARGUMENTS")
        .expect("crate `sim` is a direct dependency and names its linker flags");
    for argument in arguments.split(' ') {
        println!("cargo::rustc-link-arg={argument}");
    }
    println!("cargo::rerun-if-changed=build.rs");
}
