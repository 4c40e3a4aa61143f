//! What every engine must do, on the real file system.

use engines::{EngineId, behaviour};
// Linked with the flags of the simulated machine, so it must have the symbols.
use sim as _;

#[test]
fn it_behaves() {
    engines::register_guest(append_log::adapter::GUESTS.engine.expect("there is one"))
        .expect("the first guest");
    let engine = engines::engine(EngineId::Guest).expect("it is registered");
    for (name, case) in behaviour::CASES {
        let dir = tempfile::tempdir().expect("a directory");
        println!("{name}");
        case(engine, dir.path());
    }
}
