//! A watch that went wrong, for readers.

use super::exhibit::{Exhibit, Row};
use super::sentence;
use super::{Broken, Case};
use model::notation;
use model::watch::{self, TrueEvents, WatchAttempt};

impl Case<'_> {
    /// What the client of a watch was owed and what it got, and what the watch said.
    pub(super) fn watch(&self, broken: &mut Broken, client: u32, watch_id: i64, message: usize) {
        let of_client = self.evidence.watched.records.iter().filter(|record| record.client == client);
        let mut attempts = of_client.flat_map(|record| &record.attempts);
        let Some(attempt) = attempts.find(|attempt| attempt.request.watch_id == watch_id) else { return };
        let detail = broken.message.split_once(": ").map_or("", |(_, detail)| detail);
        broken.sentence = sentence::of_watch(broken.check, client, attempt.node, &keys(attempt), detail);
        broken.nodes.insert(attempt.node);
        if let Some(truth) = &self.truth {
            broken.exhibits.extend(owed_and_got(&TrueEvents::of(&truth.store), attempt));
        }
        broken.exhibits.push(messages(attempt, message));
    }
}

/// The keys that a watch is of, and the revision that it begins with.
fn keys(attempt: &WatchAttempt) -> String {
    let request = &attempt.request;
    let end = request.range_end.as_deref().map_or(String::new(), |end| format!("..{}", notation::bytes(end)));
    let from = match request.start_revision {
        ..=0 => "from then on".to_string(),
        revision => format!("from revision {revision} on"),
    };
    format!("`{}{end}` {from}", notation::bytes(&request.key))
}

/// What the client was owed and got, by revision; none where nothing was owed and nothing came.
fn owed_and_got(truth: &TrueEvents, attempt: &WatchAttempt) -> Option<Exhibit> {
    let rows = watch::owed_and_got(truth, attempt).into_iter().map(|compared| {
        let or_nothing =
            |texts: Vec<String>| if texts.is_empty() { "nothing".to_string() } else { texts.join("; ") };
        let got = compared.got.into_iter().map(|(message, event)| format!("{event} (message {message})"));
        let cells = vec![compared.revision.to_string(), or_nothing(compared.owed), or_nothing(got.collect())];
        Row { cells, wrong: compared.differs }
    });
    let rows: Vec<Row> = rows.collect();
    let title = "What the client was owed, and what it got";
    (!rows.is_empty()).then(|| Exhibit::new(title, &["revision", "owed", "got"], rows))
}

fn messages(attempt: &WatchAttempt, wrong: usize) -> Exhibit {
    let rows = attempt.messages.iter().enumerate().map(|(place, message)| Row {
        cells: vec![place.to_string(), message.revision.to_string(), watch::said(message)],
        wrong: place == wrong,
    });
    let title = format!("What the watch said, on node {}", attempt.node);
    Exhibit::new(title, &["message", "at revision", "says"], rows.collect())
}
