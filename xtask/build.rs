//! Hands the executable the linker flags of interposition, as crate `sim` names them. The tests, which only run
//! it, are ordinary programs.

fn main() {
    let arguments = std::env::var("DEP_BROWNOUT_SIM_LINK_ARGUMENTS")
        .expect("crate `sim` is a direct dependency and names its linker flags");
    for argument in arguments.split(' ') {
        println!("cargo::rustc-link-arg-bins={argument}");
    }
    println!("cargo::rerun-if-changed=build.rs");
}
