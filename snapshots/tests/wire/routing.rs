//! The routing table, whole, and what must hold in every row of it.

use crate::streams::HEADED_ENGINES;
use snapshots::{
    EngineSet, Formats, LEGACY_ENGINE, Peer, Reception, Refusal, Release, Route, Shipment, VERSION, receive,
    ship,
};

fn all_engines() -> EngineSet {
    EngineSet::from_iter(HEADED_ENGINES).with(LEGACY_ENGINE)
}

/// Every node there can be whose program has all the adapters of its release.
fn peers() -> Vec<Peer> {
    let release_two = all_engines().iter().map(|engine| Peer::new(Release::Two, engine, all_engines()));
    [Peer::new(Release::One, LEGACY_ENGINE, all_engines())].into_iter().chain(release_two).collect()
}

/// Every hello there can be, the lies and the restrictions among them.
fn hellos() -> Vec<Peer> {
    let mut hellos = Vec::new();
    for release in Release::ALL {
        for engine in all_engines().iter() {
            for bare in [false, true] {
                for members in 0..1_u8 << HEADED_ENGINES.len() {
                    let headed = HEADED_ENGINES.iter().enumerate().filter(|(bit, _)| members >> bit & 1 == 1);
                    let headed = headed.map(|(_, engine)| *engine).collect();
                    hellos.push(Peer { release, engine, accepts: Formats { bare, headed } });
                }
            }
        }
    }
    hellos
}

/// The route under which a shipment arrives.
fn arrives_as(shipment: Shipment) -> Option<Route> {
    match shipment {
        Shipment::Bare | Shipment::TranscodeToBare => Some(Route::Legacy),
        Shipment::Headed { engine } => Some(Route::Engine { id: engine, version: VERSION }),
        Shipment::HoldBack(_) => None,
    }
}

#[test]
fn the_table() {
    let mut table = String::new();
    for sender in peers() {
        for receiver in peers() {
            let shipment = ship(&sender, &receiver);
            let reception = arrives_as(shipment).map(|route| receive(&receiver, route));
            table += &format!(
                "{} {:#04x} → {} {:#04x}   {shipment:?}, {}\n",
                sender.release,
                sender.engine,
                receiver.release,
                receiver.engine,
                reception.map_or("nothing arrives".to_owned(), |reception| format!("{reception:?}")),
            );
        }
    }
    insta::assert_snapshot!("routing_table", table);
}

#[test]
fn nothing_is_shipped_that_the_receiver_would_refuse() {
    let mut arrivals = 0;
    for sender in hellos() {
        for receiver in hellos() {
            let Some(route) = arrives_as(ship(&sender, &receiver)) else { continue };
            arrivals += 1;
            assert!(
                !matches!(receive(&receiver, route), Reception::Refuse(_)),
                "{sender:?} to {receiver:?}: {route:?}"
            );
            if receiver.release == Release::One {
                assert_eq!(route, Route::Legacy, "{sender:?} to {receiver:?}");
                assert_eq!(receive(&receiver, route), Reception::Install);
            }
        }
    }
    assert!(arrivals > 0);
}

#[test]
fn it_is_held_back_only_from_who_can_read_nothing() {
    for sender in hellos() {
        for receiver in hellos() {
            let held_back = matches!(ship(&sender, &receiver), Shipment::HoldBack(_));
            let impossible = [sender, receiver]
                .iter()
                .any(|peer| peer.release == Release::One && peer.engine != LEGACY_ENGINE);
            let readable = receiver.accepts.bare
                || receiver.release == Release::Two && receiver.accepts.headed.contains(sender.engine);
            assert_eq!(held_back, impossible || !readable, "{sender:?} to {receiver:?}");
        }
    }
}

#[test]
fn a_shipment_held_back_says_why() {
    let lsm = Peer::new(Release::Two, 0x03, all_engines());
    let sled = Peer::new(Release::Two, LEGACY_ENGINE, all_engines());
    let deaf = Peer { accepts: Formats { bare: false, headed: EngineSet::EMPTY }, ..lsm };
    let liar = Peer::new(Release::One, 0x01, all_engines());
    let why = |sender: &Peer, receiver: &Peer| match ship(sender, receiver) {
        Shipment::HoldBack(reason) => reason.to_string(),
        shipment => panic!("shipped {shipment:?}"),
    };
    insta::assert_snapshot!(
        "hold_back",
        [why(&sled, &deaf), why(&lsm, &deaf), why(&sled, &liar), why(&liar, &sled)].join("\n")
    );
}

#[test]
fn a_stray_stream_is_refused_by_its_route() {
    let one = Peer::new(Release::One, LEGACY_ENGINE, all_engines());
    let two = Peer::new(Release::Two, 0x01, all_engines());
    let no_bare = Peer { accepts: Formats { bare: false, ..two.accepts }, ..two };
    let headed = |id| Route::Engine { id, version: VERSION };
    let check = |receiver: &Peer, route, expected| {
        assert_eq!(receive(receiver, route), Reception::Refuse(expected));
    };
    check(&one, headed(0x01), Refusal::EngineNotAccepted { id: 0x01 });
    check(&two, headed(0x7f), Refusal::EngineNotAccepted { id: 0x7f });
    check(&two, headed(LEGACY_ENGINE), Refusal::EngineNotAccepted { id: LEGACY_ENGINE });
    check(&two, Route::Engine { id: 0x01, version: 2 }, Refusal::VersionNotAccepted { version: 2 });
    check(&no_bare, Route::Legacy, Refusal::BareNotAccepted);
}

#[test]
fn a_release_has_its_number_and_its_formats() {
    for release in Release::ALL {
        assert_eq!(Release::from_number(release.number()), Some(release));
        assert!(release.formats(all_engines()).bare);
    }
    assert_eq!(Release::from_number(0), None);
    assert_eq!(Release::from_number(3), None);
    assert_eq!(Release::One.formats(all_engines()).headed, EngineSet::EMPTY);
    assert_eq!(Release::Two.formats(all_engines()).headed, EngineSet::from_iter(HEADED_ENGINES));
}
