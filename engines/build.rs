//! Tells the crate which versions of the engines it is built with, as Cargo.lock has them, so that nobody types
//! a version by hand.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

/// The engines, and the variables that hold their versions.
const ENGINES: [(&str, &str); 4] = [
    ("sled", "SLED_VERSION"),
    ("fjall", "FJALL_VERSION"),
    ("lsm-tree", "LSM_TREE_VERSION"),
    ("redb", "REDB_VERSION"),
];

const UNKNOWN: &str = "unknown";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let lock = lock_file();
    if let Some(path) = &lock {
        println!("cargo::rerun-if-changed={}", path.display());
    }
    let packages = lock.and_then(|path| packages(&path)).unwrap_or_default();
    for (engine, variable) in ENGINES {
        println!("cargo::rustc-env={variable}={}", version(&packages, engine));
    }
}

/// The lock file of this build. That of the workspace whose target directory is written to counts: where this
/// crate is a dependency, its own lock file says nothing. A target directory may stand elsewhere, so the crate's
/// own ancestors come second.
fn lock_file() -> Option<PathBuf> {
    ["OUT_DIR", "CARGO_MANIFEST_DIR"].into_iter().filter_map(env::var_os).find_map(|dir| {
        let dir = PathBuf::from(dir);
        dir.ancestors().map(|ancestor| ancestor.join("Cargo.lock")).find(|path| path.is_file())
    })
}

fn packages(lock: &Path) -> Option<Vec<toml::Value>> {
    let table: toml::Table = fs::read_to_string(lock).ok()?.parse().ok()?;
    Some(table.get("package")?.as_array()?.clone())
}

/// The version of `name`; where several are locked, all of them, since the lock does not say which is linked.
fn version(packages: &[toml::Value], name: &str) -> String {
    let text = |package: &toml::Value, field: &str| Some(package.get(field)?.as_str()?.to_owned());
    let versions: Vec<String> = packages
        .iter()
        .filter(|package| text(package, "name").as_deref() == Some(name))
        .filter_map(|package| text(package, "version"))
        .collect();
    if versions.is_empty() { UNKNOWN.to_owned() } else { versions.join(" or ") }
}
