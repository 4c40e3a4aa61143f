//! The readers of other systems' histories.

use model::jepsen;

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
    insta::assert_debug_snapshot!(
        jepsen::register(log)
            .unwrap()
            .operations()
            .iter()
            .map(|o| (o.client, o.input, &o.outcome))
            .collect::<Vec<_>>()
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
    insta::assert_debug_snapshot!(
        jepsen::append_kv(log)
            .unwrap()
            .operations()
            .iter()
            .map(|o| (&o.input, &o.outcome))
            .collect::<Vec<_>>()
    );
}

#[test]
fn a_bad_line_is_named() {
    let register = |log| jepsen::register(log).unwrap_err().to_string();
    let append_kv = |log| jepsen::append_kv(log).unwrap_err().to_string();
    let errors = [
        register("\nhello"),
        register("INFO  jepsen.util - 0 :invoke :write x"),
        register("INFO  jepsen.util - 0 :ok :read 3"),
        register("INFO  jepsen.util - 0 :invoke :read nil\nINFO  jepsen.util - 0 :invoke :read nil"),
        register("INFO  jepsen.util - 0 :invoke :jump nil"),
        append_kv("{:process 7, :type :invoke, :f :put, :key \"a\", :value \"x"),
        append_kv("{:process 7, :type :invoke, :f :put, :value \"x\"}"),
        append_kv("{:process 7, :type :went, :f :put}"),
        append_kv("{}"),
    ];
    insta::assert_snapshot!(errors.join("\n"));
}
