//! Stories of the store, and its equality with the reference above every engine.

mod compactions;
mod equality;
mod leases;

use std::path::Path;

use engines::{Batch, EngineId, Options};
use tempfile::TempDir;

use super::*;
use crate::api::{
    Compare, CompareResult, DeleteRangeRequest, Event, EventKind, KeyValue, PutRequest, RangeRequest,
    ResponseBody, SortOrder, SortTarget, Target, TxnRequest,
};

/// A store in a directory of its own, and the index of its next entry.
struct Story {
    directory: TempDir,
    engine: EngineId,
    design: Design,
    store: Option<Store>,
}

impl Story {
    fn new(engine: EngineId) -> Story {
        Story::with_design(engine, Design::default())
    }

    fn with_design(engine: EngineId, design: Design) -> Story {
        let directory = tempfile::tempdir().unwrap();
        let store = Some(open(directory.path(), engine, &design).unwrap());
        Story { directory, engine, design, store }
    }

    fn store(&mut self) -> &mut Store {
        self.store.as_mut().unwrap()
    }

    fn apply(&mut self, request: &Request) -> Result<Response, Refusal> {
        match self.command(&Command::Kv(request.clone()))? {
            Answer::Kv(response) => Ok(response),
            other => panic!("{other:?}"),
        }
    }

    fn command(&mut self, command: &Command) -> Result<Answer, Refusal> {
        let index = self.store().applied_index() + 1;
        match self.store().apply(index, 1, command).unwrap() {
            Applied::Done(answer) => answer,
            other => panic!("entry {index} is new and has an answer, not {other:?}"),
        }
    }

    fn note(&mut self, command: &Command) {
        let index = self.store().applied_index() + 1;
        assert_eq!(self.store().apply(index, 1, command).unwrap(), Applied::Noted);
    }

    fn compact(&mut self, revision: i64) -> Result<Answer, Refusal> {
        self.command(&Command::Compact { revision })
    }

    fn put(&mut self, key: &str, value: &str) {
        self.apply(&Request::put(key, value)).unwrap();
    }

    fn reopen(&mut self) {
        self.store.take().unwrap().close().unwrap();
        self.store = Some(open(self.directory.path(), self.engine, &self.design).unwrap());
    }

    /// Closes the store, changes what the engine holds behind its back, and opens it again.
    fn reopen_after(&mut self, change: impl FnOnce(&mut Batch)) -> Result<(), StoreError> {
        let mut backend = self.store.take().unwrap().into_backend();
        let mut batch = Batch::new();
        change(&mut batch);
        backend.write(&batch).unwrap();
        backend.flush().unwrap();
        backend.close().unwrap();
        self.store = Some(open(self.directory.path(), self.engine, &self.design)?);
        Ok(())
    }

    fn records(&mut self) -> Vec<Record> {
        let mut records = Vec::new();
        self.store().contents(&mut |record| records.push(record)).unwrap();
        records
    }
}

fn open(directory: &Path, engine: EngineId, design: &Design) -> Result<Store, StoreError> {
    let backend = engines::engine(engine).unwrap().open(directory, &Options::default()).unwrap();
    Store::open(backend, design)
}

fn kv(key: &str, value: &str, create_revision: i64, mod_revision: i64, version: i64) -> KeyValue {
    KeyValue { key: key.into(), value: value.into(), create_revision, mod_revision, version, lease: 0 }
}

fn range(key: &str, range_end: &str) -> Request {
    Request::range(key, Some(range_end.into()))
}

fn txn(compares: Vec<Compare>, success: Vec<Request>, failure: Vec<Request>) -> Request {
    Request::Txn(TxnRequest { compares, success, failure })
}

/// All keys from `key` on up to `range_end`, with further options.
fn range_with(key: &str, range_end: &str, change: impl FnOnce(&mut RangeRequest)) -> Request {
    let range_end = Some(range_end.into());
    let mut range = RangeRequest { key: key.into(), range_end, ..RangeRequest::default() };
    change(&mut range);
    Request::Range(range)
}

fn get_at(key: &str, revision: i64) -> Request {
    Request::Range(RangeRequest { key: key.into(), revision, ..RangeRequest::default() })
}

fn delete(key: &str, range_end: Option<&str>, prev_kv: bool) -> Request {
    let range_end = range_end.map(Into::into);
    Request::DeleteRange(DeleteRangeRequest { key: key.into(), range_end, prev_kv })
}

fn kvs(response: Response) -> Vec<KeyValue> {
    match response.body {
        ResponseBody::Range { kvs, .. } => kvs,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_empty_store_is_at_revision_one() {
    let mut story = Story::new(EngineId::Mem);
    let answer = story.store().read(&range("\0", "\0")).unwrap().unwrap();
    assert_eq!(
        answer,
        Response { revision: 1, body: ResponseBody::Range { kvs: vec![], count: 0, more: false } }
    );
    assert_eq!((story.store().applied_index(), story.store().durable_index().unwrap()), (0, 0));
}

#[test]
fn versions_count_until_a_key_is_deleted() {
    let mut story = Story::new(EngineId::Mem);
    story.put("a", "1");
    story.put("a", "2");
    assert_eq!(kvs(story.apply(&Request::get("a")).unwrap()), [kv("a", "2", 2, 3, 2)]);
    story.apply(&Request::delete("a")).unwrap();
    assert_eq!(kvs(story.apply(&Request::get("a")).unwrap()), []);
    story.put("a", "3");
    assert_eq!(kvs(story.apply(&Request::get("a")).unwrap()), [kv("a", "3", 5, 5, 1)]);
}

#[test]
fn only_what_changes_something_makes_a_revision() {
    let mut story = Story::new(EngineId::Mem);
    story.put("a", "1");
    for request in [
        Request::get("a"),
        Request::delete("b"),
        txn(vec![], vec![Request::get("a")], vec![]),
        txn(vec![], vec![Request::delete("b")], vec![]),
        txn(vec![], vec![], vec![Request::put("a", "2")]),
    ] {
        assert_eq!(story.apply(&request).unwrap().revision, 2, "{request:?}");
    }
    assert_eq!(story.store().applied_index(), 6, "all the same, every entry counts as applied");
}

#[test]
fn the_past_can_be_read_and_the_future_not() {
    let mut story = Story::new(EngineId::Mem);
    story.put("a", "1");
    story.put("a", "2");
    let at = |revision| get_at("a", revision);
    let store = story.store();
    assert_eq!(kvs(store.read(&at(1)).unwrap().unwrap()), []);
    assert_eq!(kvs(store.read(&at(2)).unwrap().unwrap()), [kv("a", "1", 2, 2, 1)]);
    assert_eq!(kvs(store.read(&at(0)).unwrap().unwrap()), [kv("a", "2", 2, 3, 2)]);
    assert_eq!(store.read(&at(4)).unwrap(), Err(Refusal::FutureRevision));
    assert_eq!(
        Refusal::FutureRevision.to_string(),
        "etcdserver: mvcc: required revision is a future revision"
    );
}

#[test]
fn a_range_can_be_limited_counted_and_stripped() {
    let mut story = Story::new(EngineId::Mem);
    for key in ["a", "b", "c"] {
        story.put(key, "value");
    }
    let body = |story: &mut Story, limit, count_only, keys_only| {
        let request = range_with("a", "z", |range| {
            (range.limit, range.count_only, range.keys_only) = (limit, count_only, keys_only);
        });
        story.apply(&request).unwrap().body
    };
    let all = vec![kv("a", "value", 2, 2, 1), kv("b", "value", 3, 3, 1), kv("c", "value", 4, 4, 1)];
    let bare: Vec<_> = all.iter().cloned().map(|kv| KeyValue { value: vec![], ..kv }).collect();
    assert_eq!(
        body(&mut story, 2, false, false),
        ResponseBody::Range { kvs: all[..2].to_vec(), count: 3, more: true }
    );
    assert_eq!(body(&mut story, 3, false, false), ResponseBody::Range { kvs: all, count: 3, more: false });
    assert_eq!(body(&mut story, 2, true, false), ResponseBody::Range { kvs: vec![], count: 3, more: false });
    assert_eq!(body(&mut story, 0, false, true), ResponseBody::Range { kvs: bare, count: 3, more: false });
}

#[test]
fn a_transaction_is_one_revision_and_sees_its_own_writes() {
    let mut story = Story::new(EngineId::Mem);
    story.put("a", "1");
    let request = txn(
        vec![],
        vec![
            Request::get("b"),
            Request::put("b", "2"),
            range("a", "z"),
            delete("a", None, true),
            range("a", "z"),
        ],
        vec![],
    );
    let response = story.apply(&request).unwrap();
    assert_eq!(response.revision, 3);
    let ResponseBody::Txn { succeeded: true, responses } = response.body else { panic!() };
    let revisions: Vec<_> = responses.iter().map(|response| response.revision).collect();
    assert_eq!(revisions, [2, 3, 3, 3, 3], "each operation shows the revision as it saw it");
    assert_eq!(kvs(responses[2].clone()), [kv("a", "1", 2, 2, 1), kv("b", "2", 3, 3, 1)]);
    assert_eq!(
        responses[3].body,
        ResponseBody::DeleteRange { deleted: 1, prev: vec![kv("a", "1", 2, 2, 1)] }
    );
    assert_eq!(kvs(responses[4].clone()), [kv("b", "2", 3, 3, 1)]);
    let subs: Vec<_> =
        story.records().iter().map(|record| (record.revision.main, record.revision.sub)).collect();
    assert_eq!(subs, [(2, 0), (3, 0), (3, 1)]);
}

/// etcd decides every branch before it carries anything out.
#[test]
fn a_nested_compare_does_not_see_what_is_written_around_it() {
    let mut story = Story::new(EngineId::Mem);
    let exists = Compare {
        key: b"a".to_vec(),
        range_end: None,
        target: Target::Version(0),
        result: CompareResult::Greater,
    };
    let nested = txn(vec![exists], vec![Request::put("b", "yes")], vec![Request::put("b", "no")]);
    story.apply(&txn(vec![], vec![Request::put("a", "1"), nested], vec![])).unwrap();
    assert_eq!(kvs(story.apply(&Request::get("b")).unwrap()), [kv("b", "no", 2, 2, 1)]);
}

#[test]
fn a_refused_transaction_changes_nothing() {
    let mut story = Story::new(EngineId::Mem);
    let twice = txn(vec![], vec![Request::put("a", "1"), Request::put("a", "2")], vec![]);
    assert_eq!(story.apply(&twice), Err(Refusal::DuplicateKey));
    let future = get_at("a", 2);
    assert_eq!(
        story.apply(&txn(vec![], vec![Request::put("a", "1"), future], vec![])),
        Err(Refusal::FutureRevision)
    );
    assert_eq!((story.store().revision(), story.store().applied_index()), (1, 2));
}

#[test]
fn an_entry_that_comes_again_is_skipped_also_after_a_restart() {
    for engine in [EngineId::Mem, EngineId::Sled] {
        let mut story = Story::new(engine);
        let request = Command::Kv(Request::put("a", "1"));
        assert!(matches!(story.store().apply(1, 1, &request).unwrap(), Applied::Done(Ok(_))));
        assert_eq!(story.store().apply(1, 1, &request).unwrap(), Applied::Skipped);
        story.store().advance(2, 3).unwrap();
        story.store().flush().unwrap();
        story.reopen();
        assert_eq!((story.store().applied_index(), story.store().applied_term()), (2, 3));
        assert_eq!(story.store().apply(1, 1, &request).unwrap(), Applied::Skipped);
        assert_eq!(story.store().revision(), 2);
        assert!(
            matches!(story.store().apply(4, 3, &request), Err(StoreError::Misuse(_))),
            "entry 3 is missing"
        );
    }
}

/// The wrong design: the index is written apart and later, so a restart between forgets some of it.
#[test]
fn in_the_repeating_design_entries_are_applied_twice_after_a_restart() {
    let mut design = Design::default();
    design.set("apply", "repeats").unwrap();
    let mut story = Story::with_design(EngineId::Sled, design);
    for index in 1..=10 {
        assert!(matches!(
            story.store().apply(index, 1, &Command::Kv(Request::put("a", "1"))).unwrap(),
            Applied::Done(Ok(_))
        ));
    }
    assert_eq!(story.store().applied_index(), 10, "nothing is odd before the restart");
    story.reopen();
    assert_eq!((story.store().applied_index(), story.store().revision()), (8, 11));
    for index in 9..=10 {
        assert!(matches!(
            story.store().apply(index, 1, &Command::Kv(Request::put("a", "1"))).unwrap(),
            Applied::Done(Ok(_))
        ));
    }
    assert_eq!(story.store().revision(), 13);
    story.store().flush().unwrap();
    assert_eq!(story.store().durable_index().unwrap(), 10);
}

/// The wrong design: what defragmentation makes durable is taken for older than it is, until the next entry.
#[test]
fn where_defragmentation_goes_back_entries_are_applied_twice_after_a_restart() {
    let after_defragmentation = |value: &str| {
        let mut design = Design::default();
        design.set("defragment", value).unwrap();
        let mut story = Story::with_design(EngineId::Redb, design);
        story.put("a", "1");
        story.store().flush().unwrap();
        story.put("a", "2");
        story.store().defragment().unwrap();
        assert_eq!(story.store().applied_index(), 2, "nothing is odd before the restart");
        story
    };
    let mut story = after_defragmentation("index-behind");
    story.reopen();
    assert_eq!((story.store().applied_index(), story.store().revision()), (1, 3));

    let mut story = after_defragmentation("index-behind");
    story.put("a", "3");
    story.reopen();
    assert_eq!(story.store().applied_index(), 3, "the next entry makes it good");

    let mut story = after_defragmentation("with-index");
    story.reopen();
    assert_eq!((story.store().applied_index(), story.store().revision()), (2, 3));
}

#[test]
fn only_what_was_flushed_is_called_durable() {
    for engine in [EngineId::Mem, EngineId::Redb] {
        let mut story = Story::new(engine);
        story.put("a", "1");
        story.store().flush().unwrap();
        story.put("a", "2");
        assert_eq!(story.store().durable_index().unwrap(), 1, "{engine}");
        story.store().flush().unwrap();
        assert_eq!(story.store().durable_index().unwrap(), 2, "{engine}");
    }
}

#[test]
fn a_read_must_not_write() {
    let mut story = Story::new(EngineId::Mem);
    assert!(matches!(story.store().read(&Request::put("a", "1")), Err(StoreError::Misuse(_))));
}

#[test]
fn an_engine_that_lost_part_of_what_was_written_is_corrupt() {
    let lose = |change: fn(&[Record], &mut Batch), expected: &str| {
        let mut story = Story::new(EngineId::Mem);
        story.put("a", "1");
        story.put("b", "2");
        story.put("a", "3");
        let records = story.records();
        let error = story.reopen_after(|batch| change(&records, batch)).unwrap_err();
        assert_eq!(error.to_string(), format!("the store is corrupt: {expected}"));
    };
    lose(
        |records, batch| batch.delete(layout::record_key(&records[1])),
        "records are missing before revision 4.0",
    );
    lose(
        |records, batch| batch.delete(layout::record_key(&records[2])),
        "the revision is 4, but the last record has 3",
    );
    lose(
        |_, batch| batch.put(layout::REVISION_KEY, layout::encode_revision(3)),
        "the revision is 3, but the last record has 4",
    );
    lose(
        |records, batch| {
            batch.put(layout::record_key(&records[0]), layout::record_value(&records[1]));
        },
        "the record of key b at revision 2.0 does not follow the one before it",
    );
    lose(
        |records, batch| batch.put(layout::record_key(&records[0]), b"short"),
        r"the record under key k\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00 makes no sense",
    );
    lose(|_, batch| batch.delete(layout::FORMAT_KEY), "the format is missing");
    lose(|_, batch| batch.put(layout::FORMAT_KEY, [2, 0, 0, 0]), r"format \x02\x00\x00\x00 is unknown");
}

#[test]
fn a_checkpoint_restores_to_an_equal_store_of_any_engine() {
    let mut source = Story::new(EngineId::Redb);
    for number in 0..50 {
        source.put(&format!("key {}", number % 7), &format!("value {number}"));
    }
    source.apply(&range("key 1", "key 3")).unwrap();
    source.apply(&Request::delete("key 2")).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let mut body = Vec::new();
    let checkpoint = source.store().checkpoint(&scratch.path().join("scratch"), &mut body).unwrap();
    assert_eq!(checkpoint, Checkpoint { bytes: body.len() as u64, index: 52, term: 1 });
    let directory = scratch.path().join("restored");
    engines::engine(EngineId::Redb).unwrap().restore(&mut body.as_slice(), &directory).unwrap();
    let restored = open(&directory, EngineId::Redb, &Design::default()).unwrap();
    assert_eq!((restored.applied_index(), restored.applied_term()), (52, 1));
    assert_eq!(restored.hash().unwrap(), source.store().hash().unwrap());
}
