//! The host that figures are taken on.

use std::fs;
use std::thread;

/// The processor, how many of it there are, and the kernel, in words.
pub fn description() -> String {
    let first_line = |path: &str| fs::read_to_string(path).ok()?.lines().next().map(str::to_owned);
    let kernel =
        first_line("/proc/sys/kernel/osrelease").unwrap_or_else(|| "of an unknown release".to_owned());
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let processor = processor().unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    format!("{cores} × {processor}, Linux {kernel}")
}

/// As the kernel calls it (proc_cpuinfo(5)); AArch64 gives it no name.
fn processor() -> Option<String> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
