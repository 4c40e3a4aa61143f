//! Carries out what a plan says goes wrong.

use crate::operator;
use crate::plan::{CrashPlace, EngineName, Fault, PartitionShape, PlannedFault, StartCrash, Target, Upgrade};
use crate::rot;
use crate::space;
use crate::upgrades::{self, Done, Installed, Route};
use crate::world::World;
use sim::network::Partition;
use sim::{Crash, CrashPoint};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

/// How long an upgrade step waits for the cluster to recover from the one before.
const UPGRADE_PATIENCE: Duration = Duration::from_secs(8);
/// How far a replica may lag and still count as caught up.
const CAUGHT_UP_ENTRIES: u64 = 8;

/// Starts a task for each fault, one for the upgrades, and one for the operator.
pub(crate) fn inject(world: &Rc<World>) {
    for fault in world.plan.faults.clone() {
        let world = Rc::clone(world);
        world.machine.spawn(carry_out(Rc::clone(&world), fault));
    }
    if !world.plan.upgrades.is_empty() {
        world.machine.spawn(upgrade(Rc::clone(world)));
    }
    if !world.plan.member_steps.is_empty() {
        world.machine.spawn(operator::operate(Rc::clone(world)));
    }
}

async fn carry_out(world: Rc<World>, planned: PlannedFault) {
    world.machine.sleep_until(Duration::from_millis(planned.at_ms)).await;
    match planned.fault {
        Fault::Crash { target, crash, at, down_ms, again_after } => {
            let node = world.resolve(target);
            world.expect_crash(node, Duration::from_millis(down_ms), crash, &again_after);
            crash_node(&world, node, crash, at);
        }
        Fault::Partition { shape, for_ms } => {
            let partition = world.partition(shape);
            let id = world.machine.partition(&partition);
            world.counters.borrow_mut().partitions += 1;
            world.machine.sleep(Duration::from_millis(for_ms)).await;
            world.machine.heal(id);
        }
        Fault::Pause { target, for_ms } => {
            let number = world.resolve(target);
            let node = world.id(number);
            if world.machine.is_up(node) {
                world.note_pause(number, Duration::from_millis(for_ms));
                world.machine.pause(node);
                world.machine.sleep(Duration::from_millis(for_ms)).await;
                world.machine.resume(node);
            }
        }
        Fault::FillDisk { target, free_bytes, for_ms } => {
            let node = world.id(world.resolve(target));
            world.machine.fill_disk(node, free_bytes);
            world.counters.borrow_mut().full_disks += 1;
            world.machine.sleep(Duration::from_millis(for_ms)).await;
            world.machine.free_disk(node);
            space::disarm(&world, Duration::from_millis(world.plan.heal_at_ms)).await;
        }
        Fault::Rot { target, place, sectors, in_good_order, down_ms } => {
            let node = world.resolve(target);
            let id = world.id(node);
            let down_for = Duration::from_millis(down_ms);
            if in_good_order {
                stop(&world, node).await;
                rot::at_rest(&world, node, place, sectors);
                world.machine.sleep(down_for).await;
                let (Installed { release, engine }, change) = world.installed(node);
                world.release(node, release, EngineName(engine), change);
                return;
            }
            if world.machine.is_up(id) {
                world.expect_crash(node, down_for, Crash::ProcessKill, &[]);
                world.machine.crash(id, Crash::ProcessKill);
            }
            rot::at_rest(&world, node, place, sectors);
        }
        Fault::StepClock { target, by_ms } => {
            world.machine.step_clock(world.id(world.resolve(target)), by_ms.saturating_mul(1_000_000));
            world.counters.borrow_mut().clock_steps += 1;
        }
    }
}

fn crash_node(world: &World, node: u64, crash: Crash, at: Option<CrashPlace>) {
    match at {
        None => world.machine.crash(world.id(node), crash),
        Some(CrashPlace { operation, inside, filter }) => {
            world.machine.crash_at(world.id(node), CrashPoint { crash, operation, inside, filter });
        }
    }
}

/// Does the upgrades one after another: stop, change, start, wait until caught up. None begins when everything is
/// mended.
async fn upgrade(world: Rc<World>) {
    for step in world.plan.upgrades.clone() {
        world.machine.sleep_until(Duration::from_millis(step.at_ms)).await;
        let recovered = await_recovery(&world).await;
        if world.machine.now() >= Duration::from_millis(world.plan.heal_at_ms) {
            return;
        }
        world.upgrading.set(true);
        let (installed, _) = world.installed(step.node);
        if !upgrades::is_mistake(installed, &step) {
            carry_out_step(&world, &step, installed).await;
        } else if recovered {
            make_mistake(&world, &step).await;
        }
        world.upgrading.set(false);
    }
}

/// Takes a node to where a step says, and notes it where the cluster has recovered from that.
async fn carry_out_step(world: &World, step: &Upgrade, installed: Installed) {
    let from = world.machine.now();
    replace(world, step).await;
    world.counters.borrow_mut().upgrades += 1;
    let recovered = await_recovery(world).await;
    if let (true, Some(route)) = (recovered, Route::of(installed, step)) {
        let until = world.machine.now();
        world.upgrades.borrow_mut().push(Done { node: step.node, route, from, until });
    }
}

/// Waits until the cluster has recovered, or patience is over; returns whether it has.
async fn await_recovery(world: &World) -> bool {
    let give_up = world.machine.now() + UPGRADE_PATIENCE;
    while !world.has_recovered() {
        if world.machine.now() >= give_up {
            return false;
        }
        world.machine.sleep(Duration::from_millis(50)).await;
    }
    true
}

/// Starts a node in a way that it must refuse, and then as it was.
async fn make_mistake(world: &World, step: &Upgrade) {
    let Upgrade { node, release, engine, change, .. } = *step;
    let (installed, former_change) = world.installed(node);
    stop(world, node).await;
    world.start_by_mistake(node, Installed { release, engine: engine.0 }, change);
    let give_up = world.machine.now() + UPGRADE_PATIENCE;
    while world.machine.is_up(world.id(node)) && world.machine.now() < give_up {
        world.machine.sleep(Duration::from_millis(20)).await;
    }
    stop(world, node).await;
    world.release(node, installed.release, EngineName(installed.engine), former_change);
}

/// Stops a node in good order, and starts it as the step says.
async fn replace(world: &World, step: &Upgrade) {
    let Upgrade { node, release, engine, change, .. } = *step;
    stop(world, node).await;
    if let Some(StartCrash { crash, at, down_ms }) = step.crash.clone() {
        world.expect_crash(node, Duration::from_millis(down_ms), crash, &[]);
        crash_node(world, node, crash, Some(at));
    }
    world.release(node, release, EngineName(engine.0), change);
}

/// Stops a node in good order, or kills it where its engine hangs, so that it stays down.
async fn stop(world: &World, node: u64) {
    world.ask_to_stop(node);
    let give_up = world.machine.now() + UPGRADE_PATIENCE;
    while world.machine.is_up(world.id(node)) {
        if world.machine.now() >= give_up {
            world.machine.crash(world.id(node), Crash::ProcessKill);
        }
        world.machine.sleep(Duration::from_millis(20)).await;
    }
    // The engine's files are released when the last of the old process's threads has ended; one that waits for a lock
    // that hangs never does.
    let give_up = world.machine.now() + UPGRADE_PATIENCE;
    while world.machine.ghost_threads() > 0 && world.machine.now() < give_up {
        world.machine.sleep(Duration::from_millis(5)).await;
    }
}

impl World {
    /// The replica that a target means now.
    pub(crate) fn resolve(&self, target: Target) -> u64 {
        let leader = self.log.lock().leader.map_or(1, |(_, node)| node);
        match target {
            Target::Node(node) => node,
            Target::Leader => leader,
            Target::Follower => leader % self.count() + 1,
        }
    }

    /// The links that a shape cuts, those to clients not among them.
    fn partition(&self, shape: PartitionShape) -> Partition {
        let everybody = || 1..=self.count();
        let mut pairs = BTreeSet::new();
        match shape {
            PartitionShape::Isolate(target) => {
                let node = self.resolve(target);
                for other in everybody().filter(|other| *other != node) {
                    pairs.extend([(node, other), (other, node)]);
                }
            }
            PartitionShape::Mute(target) => {
                let node = self.resolve(target);
                pairs.extend(everybody().filter(|other| *other != node).map(|other| (node, other)));
            }
            PartitionShape::Deafen(target) => {
                let node = self.resolve(target);
                pairs.extend(everybody().filter(|other| *other != node).map(|other| (other, node)));
            }
            PartitionShape::WithLeader(target) => {
                let side = [self.resolve(Target::Leader), self.resolve(target)];
                for other in everybody().filter(|other| !side.contains(other)) {
                    pairs.extend(side.into_iter().flat_map(|node| [(node, other), (other, node)]));
                }
            }
            PartitionShape::Bridge(target) => {
                let bridge = self.resolve(target);
                let sides: Vec<u64> = everybody().filter(|other| *other != bridge).collect();
                let (left, right) = sides.split_at(sides.len() / 2);
                for (&left, &right) in
                    left.iter().flat_map(|left| right.iter().map(move |right| (left, right)))
                {
                    pairs.extend([(left, right), (right, left)]);
                }
            }
        }
        Partition::Pairs(pairs)
    }

    /// True where every replica has come up, and every member has a state, and has applied nearly all that any has.
    pub(crate) fn has_recovered(&self) -> bool {
        let all_up = (1..=self.count()).all(|node| self.machine.is_up(self.id(node)));
        let members = self.members().ids();
        let log = self.log.lock();
        let all_started = (1..=self.count())
            .all(|node| log.started.get(&node) == Some(&self.machine.incarnation(self.id(node))));
        let most = log.applied.values().copied().max().unwrap_or(0);
        let caught_up = members.into_iter().all(|node| {
            let applied = log.applied.get(&node).copied().unwrap_or(0);
            let rebuilding = log.rebuilding.get(&node).copied().unwrap_or(true);
            !rebuilding && applied + CAUGHT_UP_ENTRIES >= most
        });
        all_up && all_started && caught_up
    }
}
