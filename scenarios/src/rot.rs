//! Bits that rot: the plans that let them, how files at rest are damaged, and what is made of it.
//!
//! Within the fault budget the files of one engine rot, at rest and while they are read. An engine with checksums
//! notices; the state of one without is contradicted by its peers, whose hashes are compared. Either way the replica
//! is rebuilt. Beyond the budget a raft log rots: then its replica refuses to start, and says why.

use crate::generate::{self, small, stream};
use crate::observation::Observed;
use crate::plan::{DiskProfile, EngineName, Fault, NodePlan, Plan, PlannedFault, RotPlace, Target};
use crate::run::Evidence;
use crate::scenario::Scenario;
use crate::targeted;
use crate::world::World;
use cluster::ReplicaEvent;
use engines::EngineId;
use sim::disk::{Damage, Disk, FileType, InodeNumber, SECTOR_BYTES};
use sim::entropy::{Entropy, Ratio};
use std::collections::BTreeMap;
use std::time::Duration;

/// What rotted at rest on a node, the log's in sectors.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rotted {
    /// When the first did of the engine's.
    store_since: Option<Duration>,
    log: u64,
}

/// The plan of `seed`: one replica's engine rots at rest, or as it is read, or its raft log rots.
pub(crate) fn plan(seed: u64) -> Plan {
    const ROUNDS: u64 = 4;
    const ROUND_MS: u64 = 9_000;
    let mut entropy = stream(seed, "rot");
    let mut plan = generate::calm(seed);
    plan.scenario = Scenario::Rot.name().to_string();
    plan.operations.clear();
    let victim = 1 + entropy.below(plan.nodes.len() as u64);
    let node = plan.node_mut(victim);
    node.engine =
        EngineName(*entropy.choose(&[EngineId::Sled, EngineId::Fjall, EngineId::Redb, EngineId::LsmTree]));
    let kind = entropy.below(10);
    if (5..8).contains(&kind) && rots_as_it_is_read(node.engine.0) {
        node.data_faults.bit_rot = Ratio::per_million(small(entropy.between(500, 30_000)));
    }
    let log_round = (kind >= 8).then(|| entropy.below(ROUNDS));
    for round in 0..ROUNDS {
        let from_ms = 2_000 + round * ROUND_MS;
        targeted::operations(&mut plan, &mut entropy, from_ms..from_ms + ROUND_MS, 90, 10);
        let place = match log_round {
            Some(own) if own == round => RotPlace::Log,
            Some(_) => continue,
            None => RotPlace::Store,
        };
        add(&mut plan, &mut entropy, from_ms + 2_000, victim, place);
    }
    targeted::finish(plan, 2_000 + ROUNDS * ROUND_MS)
}

/// An engine's files rot at rest, in a run that is about other things as well. It is one that notices: the others hand
/// what has rotted on to replicas that fetch a snapshot, and these fall behind here. And it is the one whose disk lies,
/// if there is one, for two engines that forget are more than a cluster of three can bear.
pub(crate) fn at_times(plan: &mut Plan, entropy: &mut Entropy) {
    const APART_MS: u64 = 13_000;
    let lies = |node: &NodePlan| node.disk == DiskProfile::Lying;
    let one_lies = plan.nodes.iter().any(lies);
    let may_rot = |node: &NodePlan| !serves_silently(node.engine.0) && lies(node) == one_lies;
    let victims: Vec<u64> =
        (1..).zip(&plan.nodes).filter(|(_, node)| may_rot(node)).map(|(number, _)| number).collect();
    if victims.is_empty() {
        return;
    }
    let victim = *entropy.choose(&victims);
    for round in 0..entropy.between(1, 3) {
        add(plan, entropy, 4_000 + round * APART_MS, victim, RotPlace::Store);
    }
}

/// Rot at rest, within four seconds of `from_ms`.
fn add(plan: &mut Plan, entropy: &mut Entropy, from_ms: u64, victim: u64, place: RotPlace) {
    let target = Target::Node(victim);
    let sectors = small(entropy.between(1, 24));
    // Most engines look at all of their files after a kill, and at few of them after a good end.
    let in_good_order = entropy.chance(Ratio::percent(60));
    let (at_ms, down_ms) = (from_ms + entropy.below(4_000), entropy.between(50, 1_500));
    let fault = Fault::Rot { target, place, sectors, in_good_order, down_ms };
    plan.faults.push(PlannedFault { at_ms, fault });
}

/// Which engines' files may rot wherever they are read. lsm-tree, and fjall above it, take counts and lengths for sizes
/// of memory before they look at a checksum (docs/findings/16): a process that has asked for 20 GiB ends there, and with
/// it the run. What they do not read so rots at rest.
fn rots_as_it_is_read(engine: EngineId) -> bool {
    match engine {
        EngineId::Sled | EngineId::Redb | EngineId::Mem => true,
        EngineId::Fjall | EngineId::LsmTree | EngineId::Guest => false,
    }
}

/// How many bytes at the end of a file of lsm-tree or fjall may be taken for sizes of memory: versions and journals
/// anywhere, tables in their tables of contents. (Our stores keep no values apart, and so have no blob files.)
fn bytes_taken_for_memory(path: &str) -> u64 {
    const TABLE_OF_CONTENTS: u64 = 1_024;
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let is_version = name.strip_prefix('v').is_some_and(|number| number.parse::<u64>().is_ok());
    match is_version || name.ends_with(".jnl") {
        true => u64::MAX,
        false if folder.ends_with("/tables") => TABLE_OF_CONTENTS,
        false => 0,
    }
}

/// Whether bits rot in a run of the plan.
pub(crate) fn may_rot(plan: &Plan) -> bool {
    plan.nodes.iter().any(|node| !node.data_faults.bit_rot.is_zero())
        || plan.faults.iter().any(|planned| matches!(planned.fault, Fault::Rot { .. }))
}

/// Lets sectors of a node rot that is down: of its engine's files, or of what is proven durable in its raft log.
pub(crate) fn at_rest(world: &World, node: u64, place: RotPlace, count: u32) {
    let id = world.id(node);
    let mut disk = world.machine.disk(id);
    let mut entropy =
        Entropy::stream(world.plan.seed, &format!("rot of n{node} at {} ns", world.machine.now().as_nanos()));
    let mut sectors = match place {
        RotPlace::Store => sectors_of_store(&disk),
        RotPlace::Log => sectors_of_log(&disk),
    };
    entropy.shuffle(&mut sectors);
    sectors.truncate(count as usize);
    for (file, sector) in &sectors {
        let bit = u16::try_from(entropy.below(SECTOR_BYTES * 8)).expect("few bits");
        disk.damage(*file, *sector, Damage::Rot { bit });
    }
    world.machine.mark("rot", &format!("node {node}: {} sectors, {place:?}", sectors.len()));
    world.machine.set_disk(id, disk);
    let mut rotted = world.rotted.borrow_mut();
    let own = rotted.entry(node).or_default();
    match place {
        RotPlace::Store if sectors.is_empty() => {}
        RotPlace::Store => drop(own.store_since.get_or_insert(world.machine.now())),
        RotPlace::Log => own.log += sectors.len() as u64,
    }
}

fn sectors_of_store(disk: &Disk) -> Vec<(InodeNumber, u64)> {
    let files = files(disk);
    let stores = files.iter().filter(|(path, _)| path.contains("/store/data/"));
    let rots = |(path, file): (&String, &InodeNumber)| {
        let end = disk.size(*file).saturating_sub(bytes_taken_for_memory(path));
        settled(disk, *file, end)
    };
    stores.flat_map(rots).collect()
}

/// The last batch of a raft log has nothing behind it that proves it durable, and is indistinguishable from a torn
/// tail when it is damaged. So only sealed segments rot.
fn sectors_of_log(disk: &Disk) -> Vec<(InodeNumber, u64)> {
    let files = files(disk);
    let mut segments: Vec<_> = files.iter().filter(|(path, _)| path.contains("/raft/")).collect();
    segments.pop();
    segments.into_iter().flat_map(|(_, file)| settled(disk, *file, disk.size(*file))).collect()
}

/// The sectors of a file before `end`, in bytes, that no crash can take any more.
fn settled(disk: &Disk, file: InodeNumber, end: u64) -> Vec<(InodeNumber, u64)> {
    disk.settled_sectors(file, 0..end).into_iter().map(|sector| (file, sector)).collect()
}

/// Every file of a disk, by its path.
fn files(disk: &Disk) -> BTreeMap<String, InodeNumber> {
    let mut files = BTreeMap::new();
    let mut directories = vec![(String::new(), InodeNumber::ROOT)];
    while let Some((path, directory)) = directories.pop() {
        for (name, inode) in disk.entries(directory) {
            let path = format!("{path}/{}", String::from_utf8_lossy(name));
            match disk.file_type(inode) {
                FileType::Directory => directories.push((path, inode)),
                FileType::File => drop(files.insert(path, inode)),
            }
        }
    }
    files
}

/// Words with which a replica refuses a raft log that is damaged.
const LOG_REFUSED: &str = "This replica may have promised what is lost";

/// Whether these words refuse a damaged raft log.
pub(crate) fn is_refusal_of_log(words: &str) -> bool {
    words.contains("raft log segment") && words.contains(LOG_REFUSED)
}

impl World {
    /// Whether a replica refuses to start for good, since its raft log has rotted. It needs a new identity, which
    /// nobody gives it in a run.
    pub(crate) fn is_gone(&self, node: u64) -> bool {
        let rotted = self.rotted.borrow().get(&node).is_some_and(|rotted| rotted.log > 0);
        let stops = self.stops.borrow();
        let last = stops.iter().rev().find(|stop| stop.node == node);
        rotted && last.is_some_and(|stop| stop.stop.result.as_ref().is_err_and(|why| is_refusal_of_log(why)))
    }
}

/// Virtual time within which a state that has rotted is found out, by a start or by the comparison of hashes, while
/// nothing else goes wrong: replicas compare at every 64 entries, and where they are quiet after every five seconds.
pub(crate) const FOUND_WITHIN: Duration = Duration::from_secs(12);

/// Virtual time in which a replica had a state that cannot be trusted, for its device's sake; at its end the state was
/// set aside.
struct Unsound {
    node: u64,
    from: Duration,
    until: Duration,
}

fn unsound(evidence: &Evidence) -> Vec<Unsound> {
    // Who is down, frozen or cut off is compared with nobody.
    let undisturbed = evidence.plan.faults.iter().all(|planned| matches!(planned.fault, Fault::Rot { .. }));
    let set_aside = |observed: &Observed| {
        let (engine, since) = match observed.event {
            ReplicaEvent::StoreDiverged { engine, .. } => (engine, doubtful_since(evidence, observed.node)),
            ReplicaEvent::EngineFinding { engine, .. } => (engine, rotten_since(evidence, observed.node)),
            _ => return None,
        };
        let doubtful = since.filter(|_| serves_silently(engine))?;
        let earliest = if undisturbed { observed.at.saturating_sub(FOUND_WITHIN) } else { Duration::ZERO };
        Some(Unsound { node: observed.node, from: doubtful.max(earliest), until: observed.at })
    };
    evidence.log.events.iter().filter_map(set_aside).collect()
}

/// Whether an engine gives back what has rotted (docs/findings/15), or a mixture of old and new that a device left
/// which lied about syncs. redb looks at its checksums when it opens a file that was not closed in good order, and not
/// when it reads; sled leaves segments out whose headers have rotted; the others look at the checksum of each block that
/// they read.
fn serves_silently(engine: EngineId) -> bool {
    match engine {
        EngineId::Sled | EngineId::Redb | EngineId::Mem | EngineId::Guest => true,
        EngineId::Fjall | EngineId::LsmTree => false,
    }
}

/// Since when bits of the engine's files on a node rot; none where they do not.
pub(crate) fn rotten_since(evidence: &Evidence, node: u64) -> Option<Duration> {
    let as_it_is_read = !evidence.plan.node(node).data_faults.bit_rot.is_zero();
    let at_rest = || evidence.rotted.get(&node).and_then(|rotted| rotted.store_since);
    if as_it_is_read { Some(Duration::ZERO) } else { at_rest() }
}

/// Since when a node's device may give its engine what was never written as a whole.
fn doubtful_since(evidence: &Evidence, node: u64) -> Option<Duration> {
    let lies = !evidence.plan.node(node).data_faults.lying_sync.is_zero();
    if lies { Some(Duration::ZERO) } else { rotten_since(evidence, node) }
}

/// Whether an engine may have given wrong data for its device's sake, and it was found out: then what its replica told
/// clients before is held against the device.
pub(crate) fn served_and_found(evidence: &Evidence) -> bool {
    !unsound(evidence).is_empty()
}

/// The events but for those of states that could not be trusted, and were found out.
pub(crate) fn of_sound_states(evidence: &Evidence) -> impl Iterator<Item = &Observed> {
    let unsound = unsound(evidence);
    evidence.log.events.iter().filter(move |observed| {
        let covers = |it: &Unsound| it.node == observed.node && (it.from..=it.until).contains(&observed.at);
        !unsound.iter().any(covers)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_replica_rots_and_not_its_log_beside_its_store() {
        let (mut at_rest, mut running, mut logs) = (0, 0, 0);
        for seed in 1..=40 {
            let plan = plan(seed);
            plan.check().unwrap();
            assert!(may_rot(&plan));
            let places: Vec<_> = plan
                .faults
                .iter()
                .map(|planned| match planned.fault {
                    Fault::Rot { target, place, .. } => (target, place),
                    _ => panic!("{:?} is no rot", planned.fault),
                })
                .collect();
            assert!(places.iter().all(|place| *place == places[0]), "{places:?}");
            let is_log = places[0].1 == RotPlace::Log;
            let reads = plan.nodes.iter().filter(|node| !node.data_faults.bit_rot.is_zero()).count();
            assert!(reads <= 1 && !(is_log && reads > 0));
            logs += usize::from(is_log);
            running += reads;
            at_rest += usize::from(!is_log);
        }
        assert!(at_rest > 20 && running > 2 && logs > 3, "{at_rest} {running} {logs}");
    }

    #[test]
    fn files_with_sizes_of_memory_are_known_by_their_names() {
        for path in ["/replica/store/data/v43", "/replica/store/data/0.jnl"] {
            assert_eq!(bytes_taken_for_memory(path), u64::MAX, "{path}");
        }
        assert_eq!(bytes_taken_for_memory("/replica/store/data/keyspaces/1/tables/7"), 1_024);
        for path in ["/replica/store/data/db", "/replica/store/data/data.redb", "/replica/store/data/blobs/7"]
        {
            assert_eq!(bytes_taken_for_memory(path), 0, "{path}");
        }
    }

    #[test]
    fn a_refusal_of_a_damaged_log_is_known_by_its_words() {
        let error = "raft log: raft log segment raft/0001 is damaged at byte 40: rot. This replica may have promised \
                     what is lost, so its log was not opened";
        assert!(is_refusal_of_log(error));
        assert!(!is_refusal_of_log("raft log: the sync of raft/0001 failed"));
    }
}
