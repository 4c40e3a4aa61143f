//! What runs on the simulated machine: the workload that is recorded, and the opening of what a crash left.

use super::frames::{frame, pack};
use super::pattern::without_numbers;
use super::timeline::Mark;
use super::workload::{Action, Workload};
use engines::native::{Contents, Failure, FailureKind, Mutation, Native, NativeStore, ONLY_SPACE, Step};
use serde::{Deserialize, Serialize};
use sim::disk::{Disk, FaultOptions};
use sim::entropy::Ratio;
use sim::isolation::{Allowance, End};
use sim::{
    Abort, Aborted, CrashSite, FaultPoint, Machine, NodeEventKind, NodeId, NodeOptions, Options, PathFaults,
    Policy, Process, Recorded, Recording,
};
use std::hash::Hasher;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use xxhash_rust::xxh3::Xxh3;

/// The store's directory below the node's disk. It is there, and durable, before the engine sees it.
pub(super) const STORE: &str = "store";

/// Virtual time for everything that a node does. Engines wait seconds at most.
const VIRTUAL_TIME_LIMIT: Duration = Duration::from_secs(600);

/// What a process that opens an image, or records such an opening, may use. It takes milliseconds: whoever needs
/// seconds hangs.
pub(super) const OPENING: Allowance = Allowance { real_time: Duration::from_secs(10) };

/// What a process that runs a whole workload, or resolves its stacks, may use: on a busy machine, many seconds.
pub(super) const WORKLOAD: Allowance = Allowance { real_time: Duration::from_secs(120) };

/// Memory of everything that a node does. A store of some hundred keys needs a hundredth of it.
const MEMORY_LIMIT_BYTES: u64 = 1 << 30;

/// A moment in the life of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Stage {
    /// It is opened after the crash.
    Open,
    /// Everything in it is read.
    Read,
    /// A key is written and persisted.
    Write,
    /// It is closed.
    Close,
    /// It is opened once more, and read.
    Reopen,
    /// What is read then is compared with what was there before.
    Compare,
}

impl Stage {
    /// The stage in words, after "it does not".
    pub const fn words(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Read => "read",
            Self::Write => "take a write",
            Self::Close => "close",
            Self::Reopen => "open once more",
            Self::Compare => "keep what it recovered",
        }
    }
}

/// A stage that failed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Stumble {
    /// The stage.
    pub stage: Stage,
    /// The kind of failure in a word: an engine's error, or how its process ended.
    pub kind: String,
    /// What was said.
    pub message: String,
}

/// What opening one image showed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Seen {
    /// The XXH3-64 hash of what the store held, once it could be read.
    pub(super) contents_hash: Option<u64>,
    /// What it held, where the asker did not know the hash.
    pub(super) contents: Option<Contents>,
    /// The first stage that failed.
    pub(super) stumble: Option<Stumble>,
    /// The recovery's changes of the disk, as a hash of calls and paths.
    pub(super) shape: u64,
    /// How many changes of the disk recovery made before the store was open.
    pub(super) changes: usize,
}

impl Seen {
    /// An image at which the process ended before anything was seen.
    pub(super) fn ended(kind: &str, message: String) -> Self {
        let stumble = Stumble { stage: Stage::Open, kind: kind.to_owned(), message };
        Self { stumble: Some(stumble), ..Self::default() }
    }
}

/// The machine on which images are opened: no thread loses its turn unless it waits.
fn opening_options() -> Options {
    Options { policy: Policy::Fixed, preemption: Ratio::ZERO, ..machine_options(1, OPENING) }
}

fn machine_options(seed: u64, allowance: Allowance) -> Options {
    Options {
        virtual_time_limit: VIRTUAL_TIME_LIMIT,
        real_time_limit: allowance.real_time,
        memory_limit_bytes: MEMORY_LIMIT_BYTES,
        process_wide_threads: vec!["sled-io-".to_string()],
        ..Options::new(seed)
    }
}

/// A node whose syncs take their time, so that an engine's threads get to work beside each other.
fn slow_node() -> NodeOptions {
    let options = FaultOptions { sync_latency_base_ns: 500_000, ..FaultOptions::default() };
    let faults = vec![PathFaults { path_contains: String::new(), options }];
    NodeOptions { faults, ..NodeOptions::new("node", 1) }
}

/// Why an exploration, or one state, could not be looked at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// What was asked for is not there: a state, a call.
    #[error("{0}")]
    Misuse(String),
    /// The exploration itself cannot go on.
    #[error("{0}")]
    Incomplete(String),
}

/// Runs a workload once without any fault: how many reads it made, and everything that it did to the disk, for
/// [`frames::workload`].
pub(super) fn record(native: &'static dyn Native, workload: &Workload, seed: u64) -> Vec<u8> {
    let completed = sim::run(machine_options(seed, WORKLOAD), None, async |machine: Machine| {
        let node = machine.add_node(slow_node());
        machine.record(node, true);
        let failed = start(machine, node, native, workload).await?;
        match failed {
            None => Ok(machine.take_recording(node)),
            Some((number, failure)) => Err(format!("action {number} fails without any fault: {failure}")),
        }
    });
    let (reads, recording) = match completed {
        Ok(completed) => (completed.counters.reads, completed.value),
        Err(aborted) => (0, Err(in_words(&aborted))),
    };
    [frame(&reads), pack(&recording)].concat()
}

/// Runs a workload with one fault in it, until an action reports an error; for [`frames::run`].
pub(super) fn run_with_fault(
    native: &'static dyn Native,
    workload: &Workload,
    seed: u64,
    point: FaultPoint,
) -> Vec<u8> {
    let completed = sim::run(machine_options(seed, WORKLOAD), None, async |machine: Machine| {
        let node = machine.add_node(slow_node());
        machine.record(node, false);
        machine.fault_at(node, point);
        let failed = start(machine, node, native, workload).await;
        (failed, machine.fault_fell(node), machine.take_recording(node))
    });
    match completed {
        Err(aborted) => frame(&how_it_hung(&aborted).map(|(_, words)| Err::<Run, String>(words))),
        Ok(completed) => {
            let (failed, fell, recording) = completed.value;
            let run = Run::new(failed, fell);
            [frame(&Ok::<_, String>(Ok::<_, String>(run))), pack(&Ok(recording))].concat()
        }
    }
}

/// How the workload went with a fault in it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Run {
    /// Where the fault fell.
    pub(super) fell: Option<CrashSite>,
    /// The action that reported it, with its words.
    pub(super) reported: Option<(usize, String)>,
    /// A panic: of a step, or of another thread.
    pub(super) panicked: Option<String>,
}

impl Run {
    fn new(failed: Result<Option<(usize, Failure)>, String>, fell: Option<CrashSite>) -> Self {
        match failed {
            Err(panic) => Self { fell, reported: None, panicked: Some(panic) },
            Ok(None) => Self { fell, reported: None, panicked: None },
            Ok(Some((action, failure))) => {
                let panicked = (failure.kind == FailureKind::Panic).then(|| failure.message.clone());
                Self { fell, reported: Some((action, failure.to_string())), panicked }
            }
        }
    }
}

/// Carries out a workload on a node, up to the first action that fails: its number and how it failed.
///
/// # Errors
/// The panic of a thread of the engine, in words.
async fn start(
    machine: Machine,
    node: NodeId,
    native: &'static dyn Native,
    workload: &Workload,
) -> Result<Option<(usize, Failure)>, String> {
    let failed = Arc::new(Mutex::new(None));
    let (workload, theirs) = (workload.clone(), Arc::clone(&failed));
    machine.start(node, move |process| {
        let first = perform(&process, native, &workload)?;
        *theirs.lock().expect("nobody panics while holding it") = first;
        Ok(())
    });
    stop_of(machine).await?;
    Ok(failed.lock().expect("nobody panics while holding it").take())
}

fn perform(
    process: &Process,
    native: &dyn Native,
    workload: &Workload,
) -> Result<Option<(usize, Failure)>, String> {
    let dir = process.root.join(STORE);
    let synced = std::fs::create_dir(&dir).and_then(|()| std::fs::File::open(&process.root)?.sync_all());
    synced.map_err(|error| format!("making the directory of the store: {error}"))?;
    let mut store: Option<Box<dyn NativeStore>> = None;
    for (number, action) in workload.actions.iter().enumerate() {
        process.note(Mark::Begun(number).number());
        if let Err(failure) = carry_out(native, &dir, action, &mut store) {
            process.note(Mark::Failed(number).number());
            return Ok(Some((number, failure)));
        }
        process.note(Mark::Returned(number).number());
    }
    Ok(None)
}

/// Carries out one action; `store` is there between an open and a close.
fn carry_out(
    native: &dyn Native,
    dir: &Path,
    action: &Action,
    store: &mut Option<Box<dyn NativeStore>>,
) -> Result<(), Failure> {
    match action {
        Action::Open => native.open(dir).map(|opened| *store = Some(opened)),
        Action::Run(step) => store.as_mut().expect("a workload opens before it writes").run(step),
        Action::Close => store.take().expect("a workload opens before it closes").close(),
    }
}

/// The next stop of the only node: what its main function returned, or the panic of another of its threads.
async fn stop_of(machine: Machine) -> Result<(), String> {
    let mut panic = None;
    loop {
        match machine.next_event().await.what {
            NodeEventKind::Stopped(stop) => {
                return match panic {
                    Some(panic) => stop.result.and(Err(panic)),
                    None => stop.result,
                };
            }
            NodeEventKind::Panicked(what) => {
                panic = Some(format!("thread {} panicked: {}", what.thread, what.message));
            }
        }
    }
}

/// How an engine kept the machine from coming to an end: the kind in a word, and what it did.
///
/// # Errors
/// Where that was the machine's own doing: it does not know a call, or could not write.
fn how_it_hung(aborted: &Aborted) -> Result<(&'static str, String), String> {
    let threads = aborted.threads.join("\n");
    match &aborted.abort {
        Abort::Deadlock => Ok(("hang", format!("every thread waits for another\n{threads}"))),
        Abort::VirtualTimeLimit => {
            let limit = VIRTUAL_TIME_LIMIT.as_secs();
            Ok(("hang", format!("not done after {limit} s of virtual time\n{threads}")))
        }
        Abort::Panic { message } => Ok(("panic", message.clone())),
        Abort::EscapedCall { call } => Err(format!("a call would have left the machine: {call}")),
        Abort::UnsupportedCall { call } => Err(format!("the machine does not know {call}")),
        Abort::TraceLost { error } => Err(error.clone()),
    }
}

fn in_words(aborted: &Aborted) -> String {
    how_it_hung(aborted).map_or_else(|words| words, |(_, words)| words)
}

/// The kind of a process's end in a word, and what it means where this is what it was allowed.
pub(super) fn describe_end(end: &End, allowance: Allowance) -> (&'static str, String) {
    match end {
        End::Finished(_) => ("finished", "it ended by itself".to_owned()),
        End::Exited(code) => ("exit", format!("it ended its process with exit code {code}")),
        End::Signalled(signal) => ("abort", format!("signal {signal} ended its process")),
        End::OutOfMemory => ("memory", "it asked for more memory than it may have".to_owned()),
        End::OutOfTime => ("hang", format!("not done after {} s", allowance.real_time.as_secs())),
    }
}

/// Opens what a crash left, reads it, writes, reopens. `knows` answers for the hash of contents whether the asker
/// has them already.
pub(super) fn open_image(native: &'static dyn Native, disk: Disk, knows: &dyn Fn(u64) -> bool) -> Vec<u8> {
    let seen = Arc::new(Mutex::new((Seen::default(), None::<Contents>)));
    let completed = sim::run(opening_options(), None, async |machine: Machine| {
        let node = machine.add_node(NodeOptions::new("node", 1));
        machine.set_disk(node, disk);
        machine.record(node, false);
        let theirs = Arc::clone(&seen);
        machine.start(node, move |process| {
            examine(&process, native, &theirs);
            Ok(())
        });
        let stopped = stop_of(machine).await;
        (stopped, machine.take_recording(node))
    });
    let (mut seen, contents) = std::mem::take(&mut *seen.lock().expect("nobody panics while holding it"));
    let stopped = match completed {
        Ok(completed) => {
            let (stopped, recording) = completed.value;
            (seen.shape, seen.changes) = shape(&recording);
            stopped.map_err(|message| ("panic", message))
        }
        Err(aborted) => match how_it_hung(&aborted) {
            Ok(hung) => Err(hung),
            Err(words) => return frame(&Err::<Seen, String>(words)),
        },
    };
    if let (Err((kind, message)), None) = (stopped, &seen.stumble) {
        let stage = if seen.contents_hash.is_some() { Stage::Write } else { Stage::Open };
        seen.stumble = Some(Stumble { stage, kind: kind.to_owned(), message });
    }
    seen.contents = contents.filter(|_| seen.contents_hash.is_some_and(|hash| !knows(hash)));
    frame(&Ok::<Seen, String>(seen))
}

/// Records the recovery from what a crash left, up to where the store is open.
pub(super) fn record_recovery(native: &'static dyn Native, disk: Disk) -> Vec<u8> {
    let completed = sim::run(opening_options(), None, async |machine: Machine| {
        let node = machine.add_node(NodeOptions::new("node", 1));
        machine.set_disk(node, disk);
        machine.record(node, true);
        machine.start(node, move |process| {
            let opened = native.open(&process.root.join(STORE));
            process.note(OPENED);
            drop(opened);
            Ok(())
        });
        let stopped = stop_of(machine).await;
        stopped.map(|()| up_to_opened(machine.take_recording(node)))
    });
    pack(&completed.map_err(|aborted| in_words(&aborted)).and_then(|completed| completed.value))
}

/// The note that says that the store is open.
const OPENED: u64 = u64::MAX;

fn up_to_opened(mut recording: Recording) -> Recording {
    let end = recording.events.iter().position(|event| matches!(event, Recorded::Note(OPENED)));
    recording.events.truncate(end.unwrap_or(recording.events.len()));
    recording
}

/// The shape of a recovery: which calls changed which files, and how many changes there were.
fn shape(recording: &Recording) -> (u64, usize) {
    let mut hash = Xxh3::new();
    let (mut changes, mut last) = (0, 0);
    for event in &recording.events {
        match event {
            Recorded::Change { operation, .. } => {
                (changes, last) = (changes + 1, *operation);
            }
            Recorded::Note(_) => break,
        }
    }
    for operation in recording.operations.iter().take_while(|operation| operation.number <= last) {
        hash.write(operation.kind.name().as_bytes());
        hash.write(without_numbers(&operation.path).as_bytes());
    }
    (hash.finish(), changes)
}

fn examine(process: &Process, native: &dyn Native, seen: &Mutex<(Seen, Option<Contents>)>) {
    let stumble = |stage| {
        move |failure: Failure| Stumble {
            stage,
            kind: failure.kind.name().to_owned(),
            message: failure.message,
        }
    };
    let steps = || -> Result<(), Stumble> {
        let dir = process.root.join(STORE);
        let mut store = native.open(&dir).map_err(stumble(Stage::Open))?;
        process.note(OPENED);
        // The shape of the recovery ends here.
        process.end_recording();
        let mut contents = store.contents().map_err(stumble(Stage::Read))?;
        {
            let mut seen = seen.lock().expect("nobody panics while holding it");
            seen.0.contents_hash = Some(contents_hash(&contents));
            seen.1 = Some(contents.clone());
        }
        let (key, value) = probe(native, &contents);
        write_probe(native, &mut *store, &key, &value).map_err(stumble(Stage::Write))?;
        contents.insert(key, value);
        store.close().map_err(stumble(Stage::Close))?;
        let store = native.open(&dir).map_err(stumble(Stage::Reopen))?;
        let after = store.contents().map_err(stumble(Stage::Reopen))?;
        drop(store);
        match first_difference(&contents, &after) {
            None => Ok(()),
            Some(message) => Err(Stumble {
                stage: Stage::Compare,
                kind: FailureKind::Corruption.name().to_owned(),
                message,
            }),
        }
    };
    if let Err(stumble) = steps() {
        seen.lock().expect("nobody panics while holding it").0.stumble = Some(stumble);
    }
}

/// The key that shows whether a recovered store still takes writes, in a space that is there if there is one. No
/// workload writes it.
fn probe(native: &dyn Native, contents: &Contents) -> ((String, Vec<u8>), Vec<u8>) {
    let space = match contents.first_key_value() {
        Some(((space, _), _)) => space.as_str(),
        None if native.promises().abilities.spaces => "probe",
        None => ONLY_SPACE,
    };
    ((space.to_owned(), b"probe".to_vec()), b"written after the crash".to_vec())
}

/// Writes the probe so that it survives as much as the engine can promise, by as few calls as that takes.
fn write_probe(
    native: &dyn Native,
    store: &mut dyn NativeStore,
    (space, key): &(String, Vec<u8>),
    value: &[u8],
) -> Result<(), Failure> {
    let put = Mutation::Put { space: space.clone(), key: key.clone(), value: value.to_vec() };
    let promises = native.promises();
    let (mode, write) = strongest(promises.writes);
    let (persist, persisted) = strongest(promises.persists);
    store.run(&Step::Write { batch: vec![put], mode })?;
    if write.survives < persisted.survives { store.run(&Step::Persist(persist)) } else { Ok(()) }
}

/// The first of the calls after which most survives, with its number: the plainest one.
fn strongest(calls: &[engines::native::Call]) -> (usize, &engines::native::Call) {
    let most = calls.iter().map(|call| call.survives).max();
    let first = calls.iter().enumerate().find(|(_, call)| Some(call.survives) == most);
    first.expect("a table of promises is not empty")
}

fn first_difference(before: &Contents, after: &Contents) -> Option<String> {
    let name = |(space, key): &(String, Vec<u8>)| format!("{space}/{}", String::from_utf8_lossy(key));
    let gone = before.iter().find(|(key, value)| after.get(*key) != Some(value));
    let new = after.keys().find(|key| !before.contains_key(*key));
    match (gone, new) {
        (Some((key, _)), _) => Some(format!("{} was there and is not after a clean reopening", name(key))),
        (None, Some(key)) => Some(format!("{} was not there and is after a clean reopening", name(key))),
        (None, None) => None,
    }
}

/// XXH3-64 over every key and value, each with its length.
fn contents_hash(contents: &Contents) -> u64 {
    let mut hash = Xxh3::new();
    for ((space, key), value) in contents {
        for part in [space.as_bytes(), key, value] {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part);
        }
    }
    hash.digest()
}
