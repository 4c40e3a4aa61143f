#!/usr/bin/env bash
# Makes the corpus anew: every entry from the first seed that shows what the entry is about. To be run after a
# change that moves what the plans reach; entries that still do what they say need no change.
# An entry keeps its number; one that is gone from this list is to be deleted by hand.
set -euo pipefail
cd "$(dirname "$0")/../.."
[ -n "${XTASK:-}" ] || cargo build --quiet --package xtask
xtask=${XTASK:-${CARGO_TARGET_DIR:-target}/debug/xtask}

# add NAME SCENARIO SEEDS ABOUT [OPTION…]
add() {
    local name=$1 scenario=$2 seeds=$3 about=$4
    shift 4
    "$xtask" corpus --add "$name" --scenario "$scenario" --seeds "$seeds" --about "$about" "$@"
}

# One of each scenario, and of each policy and shape of partition.
add calm calm 1..9 "Without any fault every operation is answered and the replicas converge."
add fixed-schedule default 1..200 "The thread that became ready first runs first: what no other policy shows." \
    --plan-contains "policy: Fixed" --require write-torn
add priority-schedule default 1..200 "Threads run by priorities that change at a few points, which finds orders that chance does not." \
    --plan-contains "policy: Priority" --require write-torn
add random-schedule default 1..200 "Threads run in any order." --plan-contains "policy: Random" --require write-torn
add isolated-node default 1..200 "All links of a node are cut, of the leader among others." --plan-contains "Isolate(Leader)"
add muted-node default 1..200 "A node hears and is not heard: it must not depose a leader that it cannot replace." --plan-contains "Mute("
add deaf-node default 1..200 "A node is heard and does not hear: a deaf leader must step down." --plan-contains "Deafen(Leader)"
add bridge default 1..200 "Two nodes see each other only through a third." --plan-contains "Bridge("

# Power failures and what they leave.
add power-in-fjall-background power 1..100 "The power fails while a thread of fjall flushes or compacts behind the replica's back." \
    --require power-failure-in-fjall-background
add power-in-sled-log-write power 1..100 "The power fails inside a write of sled's log." --require power-failure-in-sled-log-write
add crash-in-recovery power 1..100 "A node crashes again before it has come up." --require crash-in-recovery
add torn-tail blackout 1..100 "A batch of the raft log reached the disk in part, was acknowledged by nobody, and is cut off at the start." \
    --require torn-tail-repaired
add blackout-of-one blackout 1..100 "A cluster of one acknowledges only what its own disk holds (etcd issue 14370)." \
    --plan-lacks "Node(2)" --require torn-tail-repaired
add lying-sync default 1..200 "A device acknowledges syncs that it does not honour, below an engine." --require sync-lied --require engine-rebuilt
add failed-sync default 1..200 "A sync fails; nobody may believe the next one about the same pages." --require sync-failed
add full-disk default 1..300 "A disk is full: nothing that was acknowledged is lost, and the node takes part again when there is room." --require disk-full
add leader-paused default 1..200 "A leader is frozen, another is elected, and the first must not answer from what it remembers." \
    --require leader-paused-and-deposed

# Snapshots.
add crash-in-install lagging 1..200 "The power fails between the steps of an installation, which the next start finishes." \
    --require crash-in-snapshot-install --require install-resumed
add refused-snapshot lagging 1..200 "A link damages a snapshot: it is refused, the old state stays in service, and the next one comes through." \
    --require snapshot-refused --require snapshot-headed
add snapshots-close-together lagging 1..300 "The log is cut beyond a snapshot that is under way on a narrow link: another one follows close upon it." \
    --require snapshots-close-together
add sled-to-sled default 1..300 "sled's stream is bare, and is installed as it came." --require snapshot-bare --route "sled→sled bare"
add sled-to-fjall default 1..300 "A bare stream is transcoded." --route "sled→fjall transcoded"
add sled-to-redb default 1..300 "A bare stream is transcoded." --route "sled→redb transcoded"
add fjall-to-fjall default 1..300 "A headed stream of the receiver's own engine is installed." --require snapshot-headed --route "fjall→fjall"
add fjall-to-sled default 1..300 "The legacy engine takes a headed stream, if its release knows the header." --route "fjall→sled transcoded"
add fjall-to-redb default 1..300 "A headed stream of a log-structured engine fills a tree." --route "fjall→redb transcoded"
add redb-to-redb lagging 1..300 "A headed stream of the receiver's own engine is installed." --require snapshot-headed --route "redb→redb"
add redb-to-sled default 1..300 "The legacy engine takes a headed stream, if its release knows the header." --route "redb→sled transcoded"
add redb-to-fjall lagging 1..300 "A headed stream of a tree fills a log-structured engine." --require snapshot-transcoded --route "redb→fjall transcoded"
add fjall-to-release-1 mixed-releases 1..300 "Release 1 gets a bare stream, though the leader's engine is another." \
    --route "fjall→sled transcoded to bare"
add redb-to-release-1 mixed-releases 1..300 "Release 1 gets a bare stream, though the leader's engine is another." \
    --route "redb→sled transcoded to bare"

# Watches.
add watches watches 1..200 "Slow and restless watchers: they go on at other replicas where they stood, or at the boundary of what is compacted." \
    --require watch-resumed --require watch-compacted --require watch-caught-up --require watch-across-installation \
    --require watch-progress --require watch-fragment --require watch-fell-behind
add watches-under-all-faults default 1..300 "Watchers while everything goes wrong that can." \
    --require watch-resumed --require watch-across-installation

# Upgrades.
add upgrade-and-back rolling-upgrade 1..200 "Release 1 to 2 and sled to fjall, node by node and back, under crashes and partitions." \
    --require upgraded --require converted --require write-torn --require snapshot-bare
add upgrade-over-broken-engine rolling-upgrade 1..200 "An engine breaks a promise in the middle of an upgrade, and its replica is rebuilt." \
    --require upgraded --require engine-rebuilt

# Members that come and go.
add members-replaced membership 1..300 "A voter is replaced by a learner in a joint change, which a crash falls into." \
    --require learner-promoted --require voter-removed --require crash-in-joint-configuration
add leader-removed membership 1..300 "Leadership is handed over, and the leader removes itself." \
    --require leader-removed --require leadership-moved

# Seeds that failed once.
add once-undecided default 39..39 "Writes with unknown outcomes made the search for a legal order endless; the stores decide them." \
    --plan-contains "seed: 39,"
add once-undecided-scans default 55..55 "The same, with another mix of operations." --plan-contains "seed: 55,"
add once-two-states-lost default 42..42 "Two replicas lost their state, the third did not know all that was committed, and the run did not end." \
    --plan-contains "seed: 42,"
add once-not-answered default 53..53 "All replicas had applied everything, but a client was never answered." --plan-contains "seed: 53,"
add once-panic-on-own-thread default 36..36 "fjall panicked on a thread of the replica, which was held against the cluster." \
    --plan-contains "seed: 36,"
add once-watch-on-removed-learner default 512..512 "A learner was removed and never heard of it: its watches went on saying that nothing had happened." \
    --plan-contains "seed: 512,"
add default-members default 1..1000 "Among faults of every class a node crashes in a joint configuration." --require crash-in-joint-configuration
add default-upgrades default 1..1000 "Among faults of every class a node crashes while its store is converted in place." --require conversion-resumed

# Engines that break their promises.
add finding-in-sled power 1..200 "sled does not open after a power failure; the replica is rebuilt from a peer." \
    --finding "sled found its files corrupt: Read corrupted data" --require engine-rebuilt
add finding-of-lost-flush-in-fjall power 1..200 "fjall opens after a power failure, but without what it had flushed." \
    --finding "the store proves applied index" --require engine-rebuilt --require power-failure-in-fjall-background

# The zoo: each wrong design with the first seed that shows it to the check that must see it.
add zoo-send-first blackout 1..300 "Votes and entries are acknowledged before their fsync." --design persist_before_send=send-first
add zoo-lazy blackout 1..300 "The raft log is synced only when a segment is full." --design persist_before_send=lazy
add zoo-segment-directory blackout 1..300 "A new segment's name is not synced." --design segment_directory_sync=skipped
add zoo-body-only lagging 1..300 "The announced size counts the body only." --design wire_size=body-only
add zoo-digest lagging 1..300 "The digest of a snapshot is not checked." --design digest=skipped
add zoo-headed-to-release-1 mixed-releases 1..300 "Release 1 is sent a header." --design release_one_streams=headed
add zoo-header-of-17 lagging 1..300 "The header lacks its version." --design header=bytes-17
add zoo-local-reads lagging 1..300 "Reads are served without asking a quorum." --design reads=local
add zoo-rename-then-sync lagging 1..300 "A snapshot is renamed into place before its files are synced." --design snapshot_install=rename-then-sync
add zoo-snapshot-removed lagging 1..1000 "A snapshot that was acknowledged and not yet installed is removed when the next one comes." \
    --design snapshot_cleanup=with-next-stream
add zoo-repeated-apply power 1..300 "Entries are applied a second time after a restart." --design apply=repeats
add zoo-watch-skips watches 1..300 "After a snapshot was installed, watches go on behind it." --design watch_restore=skipped
add zoo-watch-goes-back watches 1..300 "After a snapshot was installed, watches of the future begin right behind it." --design watch_future=lowered
add zoo-early-progress watches 1..300 "Progress is told before the events that it stands for." --design watch_progress=at-once
add zoo-tombstone-compacted watches 1..300 "Compaction drops the deletion that it goes up to." --design compaction_tombstone=dropped
add zoo-tombstone-not-restored watches 1..300 "A compaction that goes on after a crash drops the deletion that it goes up to." \
    --design restored_tombstone=ignored
add zoo-configuration-appended membership 1..1000 "A change of the members stays though its entry was superseded." \
    --design conf_change_effect=when-appended
add zoo-configuration-at-once membership 1..1000 "A voter is replaced without a joint configuration." --design conf_change_steps=at-once
add zoo-configuration-unwritten membership 1..1000 "A restart forgets a change of the members." --design conf_state_write=with-segment
add zoo-joint-left-by-proposer membership 1..1000 "A joint configuration is left only by the leader that entered it." --design joint_leave=proposer
add zoo-removed-leader-stays membership 1..1000 "A leader that removed itself goes on leading." --design removed_leader=stays
add zoo-defragmented-without-index power 1..1000 "Defragmentation makes data durable without their applied index." \
    --design defragment=index-behind

# Leases, compaction, members, upgrades, full disks and rot.
add interrupted-conversion upgrade-matrix 1..100 "A conversion of a store in place is interrupted by a crash, and finished at the next start." \
    --require conversion-resumed
add rot-served rot 1..120 "redb serves what has rotted, until the comparison of hashes finds it out and the state is rebuilt." \
    --require rot-served --require rot-found-by-comparison --require rot-repaired
add rot-found-by-engine rot 1..60 "An engine finds its files rotten, and its state is rebuilt from a peer." \
    --require rot-found-by-engine --require rot-repaired
add wrong-engine-refused upgrade-matrix 1..100 "A start with another engine than the store's is refused, and so is a conversion by a release that knows no other." \
    --require wrong-engine-refused --require conversion-refused
add rotten-log rot 1..60 "A rotten raft log is refused, and the others go on." \
    --require rotten-log-refused
add leases leases 1..100 "Leases are kept alive by one leader after another, checkpointed, and end in time." \
    --require lease-expired --require lease-kept-over-leader-change --require leases-checkpointed
add compaction compaction 1..150 "Crashes between two batches of a compaction, and reads of what is compacted or not yet there." \
    --require crash-between-compaction-steps --require read-compacted --require serializable-read-behind
add members membership 1..200 "Learners are promoted, voters removed, a node crashes in a joint configuration." \
    --require learner-promoted --require voter-removed --require crash-in-joint-configuration
add leader-removed membership 1..200 "A leader that removes itself steps down; leadership is handed over." \
    --require leader-removed --require leadership-moved
add full-disk-without-ballast full-disk 1..100 "A replica that has no ballast left waits for space, and takes part again." \
    --require waited-for-space --require alarm-cleared
add once-hang-during-upgrade default 1619..1619 "An upgrade waited for ever for the threads of a killed node that hang in sled." \
    --finding "hangs"
