//! Every command of Brownout, for this engine: `cargo run -- crash --engine append-log`.

// Its symbols answer for the C library's.
use sim as _;

use std::process::ExitCode;

fn main() -> ExitCode {
    xtask::main(&append_log::adapter::GUESTS)
}
