//! The store answers like the reference, above every engine, across restarts and compactions.

use proptest::prelude::*;

use super::super::reference::Reference;
use super::*;

/// What is done between two commands.
#[derive(Clone, Copy, Debug)]
enum Between {
    Nothing,
    Restart,
    /// So many steps of a compaction, each over so many records.
    Compact {
        steps: usize,
        records_max: usize,
    },
}

/// Requests over few keys, so that they meet.
fn requests() -> impl Strategy<Value = Request> {
    let leaf = prop_oneof![
        3 => ranges(),
        5 => puts(),
        2 => (key(), range_end(), any::<bool>()).prop_map(|(key, range_end, prev_kv)| {
            Request::DeleteRange(DeleteRangeRequest { key, range_end, prev_kv })
        }),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        let list = prop::collection::vec(inner, 0..4);
        (prop::collection::vec(compare(), 0..3), list.clone(), list)
            .prop_map(|(compares, success, failure)| Request::Txn(TxnRequest { compares, success, failure }))
    })
}

fn ranges() -> impl Strategy<Value = Request> {
    let order = prop::sample::select(vec![SortOrder::None, SortOrder::Ascend, SortOrder::Descend]);
    let target = prop::sample::select(vec![
        SortTarget::Key,
        SortTarget::Version,
        SortTarget::Create,
        SortTarget::Mod,
        SortTarget::Value,
    ]);
    let filters = prop::array::uniform4(prop_oneof![6 => Just(0i64), 1 => 1..10i64]);
    let options = (0..4u64, -2..12i64, any::<bool>(), any::<bool>());
    (key(), range_end(), options, order, target, filters).prop_map(
        |(key, range_end, (limit, revision, count_only, keys_only), sort_order, sort_target, filters)| {
            let [min_mod_revision, max_mod_revision, min_create_revision, max_create_revision] = filters;
            Request::Range(RangeRequest {
                key,
                range_end,
                limit,
                revision,
                sort_order,
                sort_target,
                serializable: false,
                keys_only,
                count_only,
                min_mod_revision,
                max_mod_revision,
                min_create_revision,
                max_create_revision,
            })
        },
    )
}

fn puts() -> impl Strategy<Value = Request> {
    let rarely = || prop::bool::weighted(0.15);
    (key(), value(), prop_oneof![2 => Just(0i64), 1 => 1..4i64], any::<bool>(), rarely(), rarely()).prop_map(
        |(key, value, lease, prev_kv, ignore_value, ignore_lease)| {
            let value = if ignore_value { vec![] } else { value };
            let lease = if ignore_lease { 0 } else { lease };
            Request::Put(PutRequest { key, value, lease, prev_kv, ignore_value, ignore_lease })
        },
    )
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        10 => prop::sample::select(vec!["a", "b", "c", "d", "ab", "a\0"]).prop_map(Vec::from),
        1 => Just(vec![0]),
        1 => Just(vec![0xff, 0xff]),
    ]
}

fn range_end() -> impl Strategy<Value = Option<Vec<u8>>> {
    prop_oneof![4 => Just(None), 1 => Just(Some(vec![])), 1 => Just(Some(vec![0])), 3 => key().prop_map(Some)]
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop::sample::select(vec!["", "1", "2", "a longer value"]).prop_map(Vec::from)
}

fn compare() -> impl Strategy<Value = Compare> {
    let target = prop_oneof![
        (0..3i64).prop_map(Target::Version),
        (0..8i64).prop_map(Target::CreateRevision),
        (0..8i64).prop_map(Target::ModRevision),
        value().prop_map(Target::Value),
        (0..4i64).prop_map(Target::Lease),
    ];
    let result = prop::sample::select(vec![
        CompareResult::Equal,
        CompareResult::Greater,
        CompareResult::Less,
        CompareResult::NotEqual,
    ]);
    (key(), range_end(), target, result).prop_map(|(key, range_end, target, result)| Compare {
        key,
        range_end,
        target,
        result,
    })
}

fn commands() -> impl Strategy<Value = Command> {
    prop_oneof![
        14 => requests().prop_map(Command::Kv),
        3 => (-1..16i64).prop_map(|revision| Command::Compact { revision }),
        3 => (0..4i64, -1..9i64).prop_map(|(id, ttl_s)| Command::LeaseGrant { id, ttl_s }),
        1 => (0..4i64).prop_map(|id| Command::LeaseRevoke { id }),
        1 => prop::collection::vec((0..4i64, 0..5i64), 0..3)
            .prop_map(|remaining| Command::LeaseCheckpoint { remaining }),
        1 => any::<bool>().prop_map(|activate| Command::Alarm { member: 2, activate }),
    ]
}

fn between() -> impl Strategy<Value = Between> {
    prop_oneof![
        4 => Just(Between::Nothing),
        1 => Just(Between::Restart),
        3 => (1..4usize, 1..5usize).prop_map(|(steps, records_max)| Between::Compact { steps, records_max }),
    ]
}

/// Gives the store and the reference the same commands; returns what must be the same above every engine and
/// whatever was done between the commands.
fn equals_the_reference(engine: EngineId, steps: &[(Between, Command)]) -> (u64, Vec<Record>) {
    let mut story = Story::new(engine);
    let mut reference = Reference::new();
    for (number, (between, command)) in steps.iter().enumerate() {
        let place = format!("step {number} of {steps:?}");
        carry_out(*between, &mut story, &place);
        if let Command::Kv(request) = command
            && request.is_read_only()
        {
            let expected = reference.clone().apply(request);
            assert_eq!(story.store().read(request).unwrap(), expected, "{place}");
        }
        let index = story.store().applied_index() + 1;
        let answer = match story.store().apply(index, 1, command).unwrap() {
            Applied::Done(answer) => Some(answer),
            Applied::Noted => None,
            Applied::Skipped => panic!("{place} is new"),
        };
        assert_eq!(answer, reference.command(command), "{place}");
        assert_eq!(story.store().revision(), reference.revision(), "{place}");
        assert_eq!(story.store().compacted_revision(), reference.compacted, "{place}");
    }
    assert_same_past(&mut story, &reference);
    story.store().flush().unwrap();
    story.reopen();
    assert_same_past(&mut story, &reference);
    (story.store().hash().unwrap(), story.records())
}

fn carry_out(between: Between, story: &mut Story, place: &str) {
    let hash = story.store().hash().unwrap();
    match between {
        Between::Nothing => {}
        Between::Restart => {
            story.store().flush().unwrap();
            story.reopen();
        }
        Between::Compact { steps, records_max } => {
            for _ in 0..steps {
                story.store().compact_step(records_max).unwrap();
            }
        }
    }
    assert_eq!(story.store().hash().unwrap(), hash, "{place}");
}

/// Every read at or above the compacted revision, every event and every lease.
fn assert_same_past(story: &mut Story, reference: &Reference) {
    let (first, last) = (reference.compacted.max(1), reference.revision());
    let store = story.store();
    for revision in first..=last {
        let all = range_with("\0", "\0", |range| range.revision = revision);
        assert_eq!(kvs(store.read(&all).unwrap().unwrap()), reference.state(revision), "at {revision}");
    }
    for from in first..=last {
        let events = store.events(b"\0", Some(b"\0"), from, last, true).unwrap().unwrap();
        assert_eq!(events, reference.events(from), "from {from}");
    }
    if reference.compacted > 0 {
        let below = store.events(b"\0", Some(b"\0"), reference.compacted - 1, last, true).unwrap();
        assert_eq!(below, Err(Compacted { compact_revision: reference.compacted }));
    }
    let leases: Vec<_> = store
        .leases()
        .iter()
        .map(|(id, lease)| {
            let keys: Vec<_> = lease.keys.iter().cloned().collect();
            (id, (lease.granted_ttl_s, lease.remaining_ttl_s), keys)
        })
        .collect();
    let expected: Vec<_> =
        reference.leases.iter().map(|(id, times)| (*id, *times, reference.keys_of(*id))).collect();
    assert_eq!(leases, expected);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn the_store_answers_like_the_reference(
        steps in prop::collection::vec((between(), commands()), 1..40),
    ) {
        let idle: Vec<_> = steps.iter().map(|(_, command)| (Between::Nothing, command.clone())).collect();
        prop_assert_eq!(
            equals_the_reference(EngineId::Mem, &steps),
            equals_the_reference(EngineId::Mem, &idle)
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    #[test]
    fn the_store_is_the_same_above_every_engine(
        steps in prop::collection::vec((between(), commands()), 1..40),
    ) {
        let expected = equals_the_reference(EngineId::Mem, &steps);
        for engine in engines::registry() {
            prop_assert_eq!(&equals_the_reference(engine.id(), &steps), &expected);
        }
    }
}
