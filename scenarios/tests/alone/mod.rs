//! Tests that fork run alone: a run repeats only where the process that forks it was the same, and another test
//! of the same program changes it (the numbers that the standard library gives to threads go on, and libraries
//! draw from them). As in `xtask`, address-space randomisation is off.

use std::process::Command;

/// Set in a process that runs one test, to its name.
const TEST: &str = "BROWNOUT_TEST_ALONE";

/// Runs `body` as the test `name` in another execution of this program, which runs nothing else; what it printed. None in
/// that other execution itself, where nothing is left to do.
///
/// # Panics
/// Where `body` does.
pub(crate) fn alone(name: &str, body: impl FnOnce()) -> Option<String> {
    if std::env::var_os(TEST).is_some() {
        sim::isolation::settle_addresses().unwrap();
        body();
        return None;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(TEST, name)
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{printed}\n{errors}");
    assert!(printed.contains("1 passed"), "there is a test {name}\n{printed}\n{errors}");
    Some(printed)
}
