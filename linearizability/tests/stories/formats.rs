//! The readers of histories.

use linearizability::formats::json_lines::{AppendKvWords, JsonLines, QueueWords, RegisterWords, SetWords};
use linearizability::formats::{Dialect, Format, ParseError, Reader, jepsen::Jepsen, porcupine::Porcupine};
use linearizability::history::{History, Operation};
use linearizability::specs::queue::Queue;
use linearizability::specs::set::Set;

use crate::oracle::is_legal;

/// The whole history in a text.
pub(crate) fn read<D: Dialect>(text: &str, dialect: D) -> Result<History<D::Input, D::Output>, ParseError> {
    let mut reader = Reader::new(dialect);
    text.split_inclusive('\n').try_for_each(|line| reader.line(line))?;
    Ok(History::new(reader.finish()?).unwrap())
}

#[test]
fn failures_leave_the_history_and_lost_answers_stay_unknown() {
    let log = "
INFO  jepsen.util - 0\t:invoke\t:read\tnil
INFO  jepsen.util - 1\t:invoke\t:write\t3
INFO  jepsen.util - :nemesis\t:info\t:start\tnil
INFO  jepsen.util - 0\t:fail\t:read\t:timed-out
INFO  jepsen.util - 1\t:info\t:write\t:timed-out
INFO  jepsen.util - 2\t:invoke\t:cas\t[3 4]
INFO  jepsen.util - 2\t:fail\t:cas\t[3 4]
INFO  jepsen.util - 3\t:invoke\t:write\t5
";
    let history = read(log, Jepsen).unwrap();
    let shown: Vec<String> = history
        .operations()
        .iter()
        .map(|operation| {
            format!("{} {:?} {:?}", operation.client, operation.input, operation.outcome.output())
        })
        .collect();
    assert_eq!(
        shown,
        [
            "1 Write(3) None",
            "2 CompareAndSet { expected: 3, new: 4 } Some(Swapped(false))",
            "3 Write(5) None",
        ]
    );
}

#[test]
fn strings_keep_their_quotes_commas_and_braces() {
    let log = r#"
{:process 7, :type :invoke, :f :append, :key "a", :value "x, \"1\"} \\"}
{:process 7, :type :ok, :f :append, :key "a", :value "x, \"1\"} \\"}
{:process 7, :type :invoke, :f :get, :key "a", :value nil}
{:process 7, :type :ok, :f :get, :key "a", :value "x"}
"#;
    let history = read(log, Porcupine).unwrap();
    let shown: Vec<String> = history
        .operations()
        .iter()
        .map(|operation| format!("{:?} {:?}", operation.input.action, operation.outcome.output()))
        .collect();
    assert_eq!(shown, [r#"Append("x, \"1\"} \\") Some(Written)"#, r#"Get Some(Value("x"))"#]);
}

fn check<D: Dialect>(dialect: D, text: &str, expected: &str) {
    let error = match read(text, dialect) {
        Ok(_) => panic!("{text:?} was read"),
        Err(error) => error.to_string(),
    };
    assert_eq!(error, expected, "{text}");
}

#[test]
fn a_bad_line_of_a_jepsen_log_is_named() {
    check(Jepsen, "\nhello\n", "line 2: INFO jepsen.util - PROCESS expected in \"hello\"");
    check(Jepsen, "INFO  jepsen.util - 0 :invoke :write x\n", "line 1: a number expected in \"x\"");
    check(
        Jepsen,
        "INFO  jepsen.util - 0 :ok :read 3\n",
        "line 1: client 0 was answered at 1 ns, but has no open operation; each process has one operation at a time, \
         and each answer belongs to one",
    );
    check(
        Jepsen,
        "INFO  jepsen.util - 0 :invoke :read nil\nINFO  jepsen.util - 0 :invoke :read nil\n",
        "line 2: client 0 invoked an operation at 2 ns while its operation of 1 ns was open; each process has one \
         operation at a time, and each answer belongs to one",
    );
    check(
        Jepsen,
        "INFO  jepsen.util - 0 :invoke :jump nil\n",
        "line 1: an event of a read, write or cas expected in \"INFO  jepsen.util - 0 :invoke :jump nil\"",
    );
}

#[test]
fn a_bad_line_of_a_key_value_log_is_named() {
    let put = "{:process 7, :type :invoke, :f :put";
    check(Porcupine, "{}\n", "line 1: :process expected in \"{}\"");
    check(
        Porcupine,
        "{:process 7, :type :went, :f :put}\n",
        "line 1: :invoke, :ok, :fail or :info expected in \":went\"",
    );
    check(
        Porcupine,
        &format!("{put}, :value \"x\"}}\n"),
        "line 1: :key expected in \"{:process 7, :type :invoke, :f :put, :value \\\"x\\\"}\"",
    );
    check(
        Porcupine,
        &format!("{put}, :key \"a\", :value \"x\n"),
        "line 1: a closing quote expected in \"{:process 7, :type :invoke, :f :put, :key \\\"a\\\", :value \\\"x\"",
    );
}

#[test]
fn a_file_that_was_cut_off_is_no_history() {
    check(
        Jepsen,
        "INFO  jepsen.util - 0 :invoke :write 12\nINFO  jepsen.util - 0 :ok :write 1",
        "line 2: the file was cut off here: the line has no end; if it is whole, add a newline",
    );
    let header = "{\"history\": \"queue\", \"version\": 1}\n";
    let event = "{\"process\": 1, \"type\": \"invoke\", \"f\": \"dequeue\"}\n";
    check(
        JsonLines::new(QueueWords),
        &format!("{header}{event}"),
        "line 2: the file was cut off here: the last line, {\"end\": EVENTS}, is missing",
    );
    check(
        JsonLines::new(QueueWords),
        &format!("{header}{event}{{\"end\": 2}}\n"),
        "line 3: the end speaks of 2 events, but there are 1: some lines are missing, or too many; see \
         docs/history-format.md",
    );
}

#[test]
fn a_bad_line_of_json_is_named_with_its_column() {
    let header = "{\"history\": \"cas-register\", \"version\": 1}\n";
    let with = |line: &str| format!("{header}{line}\n{{\"end\": 1}}\n");
    let check = |line: &str, expected: &str| {
        let expected = format!("line 2: {expected}; see docs/history-format.md");
        check(JsonLines::new(RegisterWords), &with(line), &expected);
    };
    check("{\"process\": 1}", "an event has `process` and `type`, and no `end`");
    check("{\"process\": 1, \"type\": \"invoke\"}", "a field `f` is missing: one of read, write, cas");
    check(
        "{\"process\": 1, \"type\": \"invoke\", \"f\": \"jump\"}",
        "unknown call \"jump\"; the calls are read, write, cas",
    );
    check(
        "{\"process\": 1, \"type\": \"invoke\", \"f\": \"cas\", \"value\": [1]}",
        "a cas has a `value` of two numbers: the expected and the new",
    );
    check(
        "{\"process\": 1, \"typ\": \"invoke\"}",
        "column 20: unknown field `typ`, expected one of `process`, `type`, `f`, `key`, `value`, `time`, `end` at line 1 \
         column 20",
    );
}

#[test]
fn every_object_can_be_written_as_json() {
    let set = r#"{"history": "set", "version": 1}
{"process": 1, "type": "invoke", "f": "add", "value": 3}
{"process": 1, "type": "ok"}
{"process": 1, "type": "invoke", "f": "contains", "value": 3, "time": 17}
{"process": 2, "type": "invoke", "f": "remove", "value": 3}
{"process": 1, "type": "ok", "value": true}
{"process": 2, "type": "info"}
{"process": 1, "type": "invoke", "f": "read"}
{"process": 1, "type": "ok", "value": []}
{"end": 8}
"#;
    let history = read(set, JsonLines::new(SetWords)).unwrap();
    assert!(is_legal(&Set { partitioned: false }, &history));
    let queue = r#"{"history": "queue", "version": 1}
{"process": 1, "type": "invoke", "f": "enqueue", "value": 3}
{"process": 1, "type": "ok"}
{"process": 1, "type": "invoke", "f": "dequeue"}
{"process": 1, "type": "ok", "value": null}
{"end": 4}
"#;
    let history = read(queue, JsonLines::new(QueueWords)).unwrap();
    assert!(!is_legal(&Queue, &history), "the queue was not empty");
    let kv = r#"{"history": "kv", "version": 1}
{"process": 1, "type": "invoke", "f": "append", "key": "a", "value": "x"}
{"process": 1, "type": "fail"}
{"end": 2}
"#;
    assert_eq!(read(kv, JsonLines::new(AppendKvWords)).unwrap().operations().len(), 0);
}

#[test]
fn operations_come_out_when_nothing_before_them_is_open() {
    let mut reader = Reader::new(Jepsen);
    let lines = ["0 :invoke :read nil", "1 :invoke :write 3", "1 :ok :write 3"];
    for line in lines {
        reader.line(&format!("INFO  jepsen.util - {line}\n")).unwrap();
        assert_eq!(reader.next_settled(), None, "process 0 is open");
    }
    reader.line("INFO  jepsen.util - 0 :fail :read nil\n").unwrap();
    assert_eq!(reader.next_settled().unwrap().client, 1, "and what failed is left out");
}

#[test]
fn formats_are_recognised_by_their_first_line() {
    assert_eq!(Format::of("INFO  jepsen.util - 0\t:invoke\t:read\tnil"), Some(Format::Jepsen));
    assert_eq!(Format::of("{:process 0, :type :invoke}"), Some(Format::Porcupine));
    assert_eq!(Format::of("{\"history\": \"set\"}"), Some(Format::JsonLines));
    assert_eq!(Format::of("<html>"), None);
}

/// Calls and answers, one line each.
fn shown<D: Dialect<Input: std::fmt::Debug, Output: std::fmt::Debug>>(dialect: D, text: &str) -> Vec<String> {
    let history = read(text, dialect).unwrap();
    let line = |operation: &Operation<D::Input, D::Output>| {
        format!("{:?} {:?}", operation.input, operation.outcome.output())
    };
    history.operations().iter().map(line).collect()
}

/// A history of one process as JSON: calls, each with its answer.
fn json(object: &str, calls: &[(&str, &str)]) -> String {
    let event = |rest: &str| format!("{{\"process\": 1, \"type\": {rest}}}\n");
    let events: String = calls.iter().map(|(call, answer)| event(call) + &event(answer)).collect();
    format!("{{\"history\": \"{object}\", \"version\": 1}}\n{events}{{\"end\": {}}}\n", 2 * calls.len())
}

#[test]
fn every_answer_of_a_jepsen_log_is_read() {
    let log = "
INFO  jepsen.util - 0 :invoke :read nil
INFO  jepsen.util - 0 :ok :read nil
INFO  jepsen.util - 0 :invoke :read nil
INFO  jepsen.util - 0 :ok :read 4
INFO  jepsen.util - 0 :invoke :cas [4 5]
INFO  jepsen.util - 0 :ok :cas [4 5]
";
    assert_eq!(
        shown(Jepsen, log),
        [
            "Read Some(Value(None))",
            "Read Some(Value(Some(4)))",
            "CompareAndSet { expected: 4, new: 5 } Some(Swapped(true))",
        ]
    );
}

#[test]
fn every_call_and_answer_of_json_is_read() {
    let register = json(
        "cas-register",
        &[
            ("\"invoke\", \"f\": \"read\"", "\"ok\", \"value\": null"),
            ("\"invoke\", \"f\": \"write\", \"value\": 7", "\"ok\""),
            ("\"invoke\", \"f\": \"read\"", "\"ok\", \"value\": 7"),
            ("\"invoke\", \"f\": \"cas\", \"value\": [7, 8]", "\"ok\""),
            ("\"invoke\", \"f\": \"cas\", \"value\": [7, 9]", "\"fail\""),
        ],
    );
    assert_eq!(
        shown(JsonLines::new(RegisterWords), &register),
        [
            "Read Some(Value(None))",
            "Write(7) Some(Written)",
            "Read Some(Value(Some(7)))",
            "CompareAndSet { expected: 7, new: 8 } Some(Swapped(true))",
            "CompareAndSet { expected: 7, new: 9 } Some(Swapped(false))",
        ]
    );
    let kv = json(
        "kv",
        &[
            ("\"invoke\", \"f\": \"put\", \"key\": \"a\", \"value\": \"x\"", "\"ok\""),
            ("\"invoke\", \"f\": \"append\", \"key\": \"a\", \"value\": \"y\"", "\"ok\""),
            ("\"invoke\", \"f\": \"get\", \"key\": \"a\"", "\"ok\", \"value\": \"xy\""),
        ],
    );
    assert_eq!(
        shown(JsonLines::new(AppendKvWords), &kv),
        [
            "AppendKvInput { key: \"a\", action: Put(\"x\") } Some(Written)",
            "AppendKvInput { key: \"a\", action: Append(\"y\") } Some(Written)",
            "AppendKvInput { key: \"a\", action: Get } Some(Value(\"xy\"))",
        ]
    );
    let set = json(
        "set",
        &[
            ("\"invoke\", \"f\": \"remove\", \"value\": -3", "\"ok\""),
            ("\"invoke\", \"f\": \"contains\", \"value\": 2", "\"ok\", \"value\": false"),
            ("\"invoke\", \"f\": \"read\"", "\"ok\", \"value\": [4, 2]"),
        ],
    );
    assert_eq!(
        shown(JsonLines::new(SetWords), &set),
        ["Remove(-3) Some(Done)", "Contains(2) Some(Contained(false))", "Read Some(Elements([2, 4]))"]
    );
}

#[test]
fn lines_that_a_reader_is_not_given_are_counted() {
    let mut reader = Reader::new(Jepsen);
    reader.skip_lines(3);
    reader.skip_lines(2);
    assert_eq!(
        reader.line("hello\n").unwrap_err().to_string(),
        "line 6: INFO jepsen.util - PROCESS expected in \"hello\""
    );
}

#[test]
fn a_message_shows_the_beginning_of_a_long_line() {
    let x = "x".repeat(200);
    let expected = format!("line 1: INFO jepsen.util - PROCESS expected in \"{}…\"", "x".repeat(120));
    check(Jepsen, &format!("{x}\n"), &expected);
}

#[test]
fn half_a_first_line_is_no_format() {
    assert_eq!(Format::of("INFO  something.else - 0"), None);
    assert_eq!(Format::of("WARN  jepsen.util - 0"), None);
}
