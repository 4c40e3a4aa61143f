//! Compaction: what it refuses, keeps and removes, and what a crash between its steps leaves.

use super::*;

/// Puts a, b and c once, a twice more, and deletes b at revision 7.
fn seven_revisions(engine: EngineId, design: Design) -> Story {
    let mut story = Story::with_design(engine, design);
    for (key, value) in [("a", "1"), ("b", "2"), ("c", "3"), ("a", "4"), ("a", "5")] {
        story.put(key, value);
    }
    story.apply(&Request::delete("b")).unwrap();
    story
}

fn wrong(field: &str, value: &str) -> Design {
    let mut design = Design::default();
    design.set(field, value).unwrap();
    design
}

/// What the engine holds, without regard to what was compacted.
fn in_the_engine(story: &mut Story) -> Vec<i64> {
    let mut revisions = Vec::new();
    restore::records(story.store().backend(), &mut |record| {
        revisions.push(record.revision.main);
        Ok(())
    })
    .unwrap();
    revisions
}

fn finish(story: &mut Story, records_max: usize) -> Vec<CompactionProgress> {
    let mut progress = Vec::new();
    while progress.last().is_none_or(|last: &CompactionProgress| !last.done) {
        progress.push(story.store().compact_step(records_max).unwrap());
    }
    progress
}

fn events(story: &mut Story, from: i64) -> Vec<Event> {
    let last = story.store().revision();
    story.store().events(b"\0", Some(b"\0"), from, last, true).unwrap().unwrap()
}

#[test]
fn compactions_are_refused_as_by_etcd() {
    let mut story = Story::new(EngineId::Mem);
    story.put("a", "1");
    assert_eq!(story.compact(-1), Err(Refusal::Compacted));
    assert_eq!(story.compact(3), Err(Refusal::FutureRevision));
    assert_eq!(story.compact(0), Ok(Answer::Compact { revision: 2 }), "once");
    assert_eq!(story.compact(0), Err(Refusal::Compacted));
    assert_eq!(story.compact(2), Ok(Answer::Compact { revision: 2 }));
    assert_eq!(story.compact(2), Err(Refusal::Compacted));
    assert_eq!(story.compact(1), Err(Refusal::Compacted));
}

#[test]
fn reads_below_are_refused_and_those_above_are_as_before() {
    let mut story = seven_revisions(EngineId::Mem, Design::default());
    let at = |story: &mut Story, revision| {
        story.store().read(&range_with("\0", "\0", |range| range.revision = revision)).unwrap()
    };
    let before: Vec<_> = (5..=7).map(|revision| at(&mut story, revision)).collect();
    story.compact(5).unwrap();
    for _ in 0..2 {
        assert_eq!(at(&mut story, 4), Err(Refusal::Compacted));
        assert_eq!((5..=7).map(|revision| at(&mut story, revision)).collect::<Vec<_>>(), before);
        let old = txn(vec![], vec![Request::put("d", "6"), get_at("a", 4)], vec![]);
        assert_eq!(story.apply(&old), Err(Refusal::Compacted));
        let negative = get_at("a", -3);
        assert!(story.store().read(&negative).unwrap().is_ok(), "alone it is the current revision");
        assert_eq!(story.apply(&txn(vec![], vec![negative], vec![])), Err(Refusal::Compacted));
        finish(&mut story, 2);
    }
}

#[test]
fn steps_remove_what_is_not_kept_and_then_say_so() {
    let mut story = seven_revisions(EngineId::Mem, Design::default());
    story.command(&Command::LeaseGrant { id: 1, ttl_s: 60 }).unwrap();
    story.command(&Command::LeaseRevoke { id: 1 }).unwrap();
    let hash = story.store().hash_kv(7).unwrap().unwrap();
    assert!(story.store().compact_step(1).unwrap().done, "nothing was begun");
    story.compact(7).unwrap();
    assert_eq!(in_the_engine(&mut story), [2, 3, 4, 5, 6, 7]);
    assert_ne!(story.store().hash_kv(7).unwrap().unwrap(), hash, "other records are compared from now on");
    let (hash, compared) = (story.store().hash().unwrap(), story.store().hash_kv(7).unwrap());
    let progress = finish(&mut story, 3);
    let removed: Vec<_> = progress.iter().map(|step| (step.records_removed, step.done)).collect();
    assert_eq!(removed, [(2, false), (3, false), (3, true)]);
    let metrics = progress.last().unwrap().finished.unwrap();
    assert_eq!((metrics.revision, metrics.records_removed, metrics.leases_removed), (7, 3, 1));
    assert_eq!(in_the_engine(&mut story), [4, 6, 7]);
    assert_eq!((story.store().hash().unwrap(), story.store().hash_kv(7).unwrap()), (hash, compared));
    assert!(!story.store().is_compacting());
    assert_eq!(story.store().hash_kv(6).unwrap(), Err(Refusal::Compacted));
    assert_eq!(story.store().hash_kv(8).unwrap(), Err(Refusal::FutureRevision));
}

#[test]
fn a_compaction_goes_on_after_a_crash_between_any_two_steps() {
    for engine in [EngineId::Mem, EngineId::Redb] {
        for steps in 0..=6 {
            let mut story = seven_revisions(engine, Design::default());
            story.compact(7).unwrap();
            let hash = story.store().hash().unwrap();
            for _ in 0..steps {
                story.store().compact_step(2).unwrap();
            }
            story.store().flush().unwrap();
            let was_done = !story.store().is_compacting();
            story.reopen();
            assert_eq!((story.store().revision(), story.store().compacted_revision()), (7, 7));
            assert_eq!(story.store().is_compacting(), !was_done, "after {steps} steps");
            finish(&mut story, 2);
            assert_eq!(in_the_engine(&mut story), [4, 6, 7]);
            assert_eq!(story.store().hash().unwrap(), hash);
            story.store().flush().unwrap();
            story.reopen();
            assert!(!story.store().is_compacting());
            assert_eq!(story.apply(&Request::put("b", "6")).unwrap().revision, 8);
        }
    }
}

/// etcd issue 18089: put, delete, put, compact at the deletion, watch from there.
#[test]
fn the_deletion_at_the_boundary_is_seen_until_the_next_compaction() {
    let mut story = seven_revisions(EngineId::Mem, Design::default());
    story.put("b", "6");
    story.compact(7).unwrap();
    finish(&mut story, 100);
    let seen = events(&mut story, 7);
    assert_eq!(seen.iter().map(|event| event.kind).collect::<Vec<_>>(), [EventKind::Delete, EventKind::Put]);
    assert_eq!((seen[0].kv.key.as_slice(), seen[0].kv.mod_revision), (&b"b"[..], 7));
    assert_eq!(seen[0].prev_kv, None, "what was before is compacted");
    story.compact(8).unwrap();
    finish(&mut story, 100);
    assert_eq!(in_the_engine(&mut story), [4, 6, 8]);
}

#[test]
fn in_the_design_that_drops_it_the_deletion_at_the_boundary_is_never_seen() {
    let mut story = seven_revisions(EngineId::Mem, wrong("compaction_tombstone", "dropped"));
    story.put("b", "6");
    story.compact(7).unwrap();
    let seen = events(&mut story, 7);
    assert_eq!(seen.iter().map(|event| event.kind).collect::<Vec<_>>(), [EventKind::Put]);
    finish(&mut story, 2);
    story.store().flush().unwrap();
    story.reopen();
    assert_eq!(story.store().revision(), 8);
}

/// etcd issue 17780.
#[test]
fn in_the_design_that_asks_the_last_record_the_revision_decreases() {
    let mut story = seven_revisions(EngineId::Redb, wrong("restored_revision", "last-record"));
    story.compact(7).unwrap();
    story.store().compact_step(100).unwrap();
    story.store().flush().unwrap();
    story.reopen();
    assert_eq!(story.store().revision(), 6, "the finished marker is missing, and so is the deletion");
    assert_eq!(story.apply(&Request::put("d", "6")).unwrap().revision, 7, "given out again");
    story.store().flush().unwrap();
    story.reopen();
    assert_eq!(story.store().revision(), 7);
    let mut story = seven_revisions(EngineId::Redb, wrong("restored_revision", "last-record"));
    story.compact(7).unwrap();
    finish(&mut story, 100);
    story.store().flush().unwrap();
    story.reopen();
    assert_eq!(story.store().revision(), 7, "the finished marker saves it");
}

/// etcd issue 19179.
#[test]
fn in_the_design_that_ignores_it_a_restart_loses_the_deletion_at_the_boundary() {
    let mut story = seven_revisions(EngineId::Redb, wrong("restored_tombstone", "ignored"));
    story.compact(7).unwrap();
    story.store().compact_step(100).unwrap();
    assert_eq!(events(&mut story, 7).len(), 1);
    story.store().flush().unwrap();
    story.reopen();
    assert_eq!(events(&mut story, 7), []);
    finish(&mut story, 100);
    assert_eq!(in_the_engine(&mut story), [4, 6]);
}

/// Where compaction makes gaps, the scheduled marker tells what an engine has lost.
#[test]
fn an_engine_that_lost_a_record_that_was_kept_is_corrupt() {
    let lose = |lost: fn(&[Record]) -> &Record, expected: &str| {
        let mut story = seven_revisions(EngineId::Mem, Design::default());
        story.compact(5).unwrap();
        finish(&mut story, 100);
        let records = story.records();
        let error = story.reopen_after(|batch| batch.delete(layout::record_key(lost(&records)))).unwrap_err();
        assert_eq!(error.to_string(), format!("the store is corrupt: {expected}"));
    };
    lose(|records| &records[1], "the compaction at revision 5 has kept 3 records, but 2 are there");
    lose(|records| &records[3], "records are missing before revision 7.0");
    lose(|records| &records[4], "the revision is 7, but the last record has 6");
    let mut story = seven_revisions(EngineId::Mem, Design::default());
    story.compact(6).unwrap();
    let records = story.records();
    finish(&mut story, 100);
    let older = Record { revision: Revision { main: 2, sub: 0 }, ..records[2].clone() };
    let RecordValue::Put { value, .. } = older.value.clone() else { panic!() };
    let value = RecordValue::Put { value, create_revision: 2, version: 1, lease: 0 };
    let error = story.reopen_after(|batch| {
        batch.delete(layout::record_key(&records[2]));
        let older = Record { value, ..older };
        batch.put(layout::record_key(&older), layout::record_value(&older));
    });
    assert_eq!(
        error.unwrap_err().to_string(),
        "the store is corrupt: the records are not those that the compaction at revision 6 kept"
    );
}

#[test]
fn markers_that_contradict_each_other_are_corrupt() {
    let mut story = seven_revisions(EngineId::Mem, Design::default());
    let error = story.reopen_after(|batch| batch.put(layout::FINISHED_KEY, layout::encode_revision(5)));
    assert_eq!(
        error.unwrap_err().to_string(),
        "the store is corrupt: the compaction at revision 5 is finished, but -1 was the last to begin"
    );
}

/// etcd issue 18667: the replica that a client waits at refuses what the others carry out.
#[test]
fn a_transaction_whose_reads_are_left_out_is_carried_out_where_it_should_be_refused() {
    let mut asked = seven_revisions(EngineId::Mem, Design::default());
    let mut other = seven_revisions(EngineId::Mem, Design::default());
    let old = txn(vec![], vec![Request::put("d", "6"), get_at("a", 2)], vec![get_at("a", 2)]);
    for story in [&mut asked, &mut other] {
        story.compact(5).unwrap();
    }
    assert_eq!(asked.store().hash().unwrap(), other.store().hash().unwrap());
    let (whole, stripped) = (Command::Kv(old.clone()), without_ranges(Command::Kv(old)));
    assert_eq!(asked.command(&whole), Err(Refusal::Compacted));
    assert!(other.command(&stripped).is_ok());
    assert_eq!((asked.store().revision(), other.store().revision()), (7, 8));
    assert_eq!(without_ranges(stripped.clone()), stripped);
}
