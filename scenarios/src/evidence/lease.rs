//! The life of a lease, for readers.

use super::exhibit::{Exhibit, Row};
use super::node::nanoseconds;
use super::sentence::seconds;
use super::{Broken, Case};
use cluster::{ReplicaEvent, RevokedBy};
use model::kv::{Call, CallAnswer};
use model::specs::etcd::StoreOperation;

impl Case<'_> {
    /// What clients asked of a lease, and what the replicas did with it.
    pub(super) fn lease(&self, broken: &mut Broken, id: i64) {
        let mut moments: Vec<(u64, String, String)> = Vec::new();
        for (operation, shown) in self.history.operations().iter().zip(self.operations) {
            if is_about(operation, id) {
                let who = format!("client {}", shown.client);
                moments.push((shown.invoke_ns, who.clone(), format!("asks: {}", shown.asked)));
                if let Some(at_ns) = shown.return_ns {
                    moments.push((at_ns, who, format!("is told: {}", shown.told)));
                }
            }
        }
        let mut ended_ns = None;
        for observed in &self.evidence.log.events {
            let at_ns = nanoseconds(observed.at);
            let Some(what) = happened(&observed.event, id) else { continue };
            if matches!(observed.event, ReplicaEvent::LeaseRevoked { .. }) {
                ended_ns.get_or_insert(at_ns);
            }
            moments.push((at_ns, format!("node {}", observed.node), what));
        }
        moments.sort_by_key(|(at_ns, _, _)| *at_ns);
        broken.at_ns = ended_ns;
        let rows = moments.into_iter().map(|(at_ns, who, what)| Row {
            cells: vec![seconds(at_ns), who, what],
            wrong: Some(at_ns) == ended_ns,
        });
        let title = format!("The life of lease {id}");
        broken.exhibits.push(Exhibit::new(title, &["when", "who", "what"], rows.collect()));
    }
}

fn is_about(operation: &StoreOperation, id: i64) -> bool {
    let granted = match operation.outcome.output() {
        Some(Ok(CallAnswer::LeaseGrant { id, .. })) => Some(*id),
        _ => None,
    };
    let asked = match &operation.input {
        Call::LeaseGrant { id, .. } | Call::LeaseKeepAlive { id } | Call::LeaseRevoke { id } => Some(*id),
        _ => None,
    };
    granted == Some(id) || asked == Some(id)
}

fn happened(event: &ReplicaEvent, lease: i64) -> Option<String> {
    match event {
        ReplicaEvent::LeaseExpired { id, term } if *id == lease => {
            Some(format!("leads term {term}, finds that its time is over, and proposes its end"))
        }
        ReplicaEvent::LeaseRevoked { id, by, revision } if *id == lease => {
            let why = match by {
                RevokedBy::Client => ": a client wanted it",
                RevokedBy::Expiry => ": its time was over",
                RevokedBy::Unknown => "",
            };
            Some(format!("has ended it, with its keys, at revision {revision}{why}"))
        }
        ReplicaEvent::LeasesTakenOver { term, leases } => {
            let (_, given_ms) = leases.iter().find(|(id, _)| *id == lease)?;
            let given_s = *given_ms as f64 / 1000.0;
            Some(format!("leads term {term} from now on, and gives it {given_s:.3} s to live"))
        }
        _ => None,
    }
}
