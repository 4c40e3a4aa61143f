//! Recordings of whole machines, and faults at chosen calls.
#![allow(clippy::unwrap_used, reason = "what these functions unwrap fails the test that calls them")]

use sim::disk::{Disk, Errno, OperationKind, Primitive, Profile, View, crash_image};
use sim::isolation::{Allowance, End, run_isolated};
use sim::{
    CrashSite, FaultPoint, Machine, NodeEventKind, NodeOptions, Options, PointFault, Process, Recorded,
    Recording,
};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::FileExt;

/// Runs `main` on a machine of its own; what it said, and the trace's hash.
fn story(main: impl AsyncFnOnce(Machine) -> String + Send) -> (String, u64) {
    let ended = run_isolated(Allowance::default(), move || {
        let completed = sim::run(Options::new(1), None, main).unwrap();
        format!("{:016x}{}", completed.trace.hash, completed.value).into_bytes()
    });
    let ended = ended.unwrap();
    let End::Finished(bytes) = ended.end else { panic!("{:?}: {}", ended.end, ended.errors) };
    let text = String::from_utf8(bytes).unwrap();
    (text[16..].to_string(), u64::from_str_radix(&text[..16], 16).unwrap())
}

async fn result(machine: Machine) -> Result<(), String> {
    loop {
        if let NodeEventKind::Stopped(stop) = machine.next_event().await.what {
            return stop.result;
        }
    }
}

/// Two threads write and sync two files; one file replaces another.
fn busy(process: Process) -> Result<(), String> {
    let work = |name: &str| -> std::io::Result<()> {
        let path = process.root.join(name);
        let file = File::create(&path)?;
        for round in 0..10_u8 {
            file.write_all_at(&[round; 700], u64::from(round) * 500)?;
            file.sync_data()?;
        }
        file.set_len(900)?;
        std::fs::rename(&path, process.root.join("last"))?;
        File::open(&process.root)?.sync_all()
    };
    process.note(1);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| work("left"));
        work("right").and(other.join().unwrap()).map_err(|error| error.to_string())
    })?;
    process.note(2);
    std::fs::remove_file(process.root.join("last")).map_err(|error| error.to_string())
}

fn replayed(recording: &Recording) -> Disk {
    let mut disk = Disk::new();
    for event in &recording.events {
        if let Recorded::Change { change, stamp, .. } = event {
            disk.replay(change, *stamp);
        }
    }
    disk
}

async fn recorded(machine: Machine) -> (Recording, Disk) {
    let node = machine.add_node(NodeOptions::new("one", 1));
    machine.record(node, true);
    machine.start(node, busy);
    result(machine).await.unwrap();
    (machine.take_recording(node), machine.disk(node))
}

#[test]
fn what_is_recorded_can_be_done_again() {
    story(async |machine: Machine| {
        let (recording, disk) = recorded(machine).await;
        let again = replayed(&recording);
        // What the end of the process left: everything, with nothing open.
        let (again, _) = crash_image(&again, Profile::ProcessKill, 0, &mut |_: &_| unreachable!());
        assert_eq!(format!("{again:?}"), format!("{disk:?}"));
        assert_eq!(again.tree(View::Durable), disk.tree(View::Durable));
        String::new()
    });
}

#[test]
fn each_change_names_its_call() {
    story(async |machine: Machine| {
        let (recording, _) = recorded(machine).await;
        let numbers: Vec<_> = recording.operations.iter().map(|operation| operation.number).collect();
        assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
        let mut writes = 0;
        for event in &recording.events {
            let Recorded::Change { operation, stamp, change } = event else { continue };
            let call = recording.operations.iter().find(|call| call.number == *operation);
            match change {
                Primitive::Open(_) | Primitive::Close(_) => assert_eq!(*operation, 0),
                Primitive::Write { offset, bytes, .. } => {
                    let call = call.unwrap();
                    assert_eq!((call.kind, call.offset), (OperationKind::Write, *offset));
                    assert_eq!(call.length, bytes.len() as u64);
                    assert!(call.now_ns <= stamp.now_ns);
                    writes += 1;
                }
                Primitive::Sync { .. } => {
                    let kind = call.unwrap().kind;
                    assert!(matches!(kind, OperationKind::DataSync | OperationKind::Sync));
                }
                Primitive::CreateFile { .. } => assert_eq!(call.unwrap().kind, OperationKind::Create),
                Primitive::Rename { .. } => assert_eq!(call.unwrap().kind, OperationKind::Rename),
                Primitive::Unlink { .. } => assert_eq!(call.unwrap().path, "last"),
                Primitive::Resize { .. } => assert_eq!(call.unwrap().kind, OperationKind::Truncate),
                other => panic!("nobody did {other:?}"),
            }
        }
        assert_eq!(writes, 20);
        let notes = |event: &Recorded| matches!(event, Recorded::Note(_));
        let places: Vec<_> =
            (0..recording.events.len()).filter(|&place| notes(&recording.events[place])).collect();
        assert_eq!(places[0], 0, "the first note came before every change");
        assert_eq!(places.len(), 2);
        assert!(matches!(
            recording.events.last(),
            Some(Recorded::Change { change: Primitive::Unlink { .. }, .. })
        ));
        String::new()
    });
}

#[test]
fn the_parent_resolves_the_call_sites_of_its_child() {
    let (told, _) = story(async |machine: Machine| {
        let (recording, _) = recorded(machine).await;
        let write = recording.operations.iter().find(|call| call.kind == OperationKind::Write).unwrap();
        write.frames.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    });
    let frames: Vec<usize> = told.split(' ').map(|address| address.parse().unwrap()).collect();
    let resolved = sim::describe_frames(&frames);
    let own = resolved.iter().find(|frame| frame.file.ends_with("sim/tests/recording.rs"));
    let own = own.unwrap_or_else(|| panic!("{resolved:#?}"));
    let source = include_str!("recording.rs");
    assert!(source.lines().nth(own.line as usize - 1).unwrap().contains("write_all_at"), "{own:?}");
}

#[test]
fn a_run_is_the_same_whether_it_is_recorded_or_not() {
    let run = |record: bool| {
        story(async move |machine: Machine| {
            let node = machine.add_node(NodeOptions::new("one", 1));
            if record {
                machine.record(node, true);
            }
            machine.start(node, busy);
            // Addresses of the heap, too, are the same.
            format!("{:?} {:p}", result(machine).await, Box::leak(Box::new(1)))
        })
    };
    assert_eq!(run(true), run(false));
}

#[test]
fn a_program_can_end_its_recording() {
    story(async |machine: Machine| {
        let node = machine.add_node(NodeOptions::new("one", 1));
        machine.record(node, false);
        machine.start(node, |process| {
            std::fs::write(process.root.join("before"), "1").map_err(|error| error.to_string())?;
            process.note(7);
            process.end_recording();
            std::fs::write(process.root.join("after"), "2").map_err(|error| error.to_string())
        });
        result(machine).await.unwrap();
        let recording = machine.take_recording(node);
        assert!(!recording.operations.is_empty());
        assert!(recording.operations.iter().all(|call| call.path == "before"));
        assert_eq!(recording.events.last(), Some(&Recorded::Note(7)));
        // The next life is recorded anew.
        machine.start(node, |process| {
            std::fs::write(process.root.join("next"), "3").map_err(|error| error.to_string())
        });
        result(machine).await.unwrap();
        assert!(machine.take_recording(node).operations.iter().any(|call| call.path == "next"));
        String::new()
    });
}

#[test]
fn a_recording_is_of_one_life() {
    story(async |machine: Machine| {
        let node = machine.add_node(NodeOptions::new("one", 1));
        machine.record(node, false);
        machine.start(node, |process| {
            std::fs::write(process.root.join("first"), "1").map_err(|error| error.to_string())
        });
        result(machine).await.unwrap();
        let image = machine.disk(node);
        machine.start(node, |process| {
            std::fs::write(process.root.join("second"), "2").map_err(|error| error.to_string())
        });
        result(machine).await.unwrap();
        let recording = machine.take_recording(node);
        assert!(recording.operations.iter().all(|call| call.path == "second" && call.frames.is_empty()));
        assert_eq!(recording.operations[0].number, 1);
        assert_eq!(machine.take_recording(node), Recording::default(), "it was taken");
        // A disk is replaced by an older image of itself.
        machine.set_disk(node, image);
        machine.start(node, |process| {
            let names = std::fs::read_dir(&process.root).unwrap().map(|entry| entry.unwrap().file_name());
            Err(format!("{:?}", names.collect::<Vec<_>>()))
        });
        assert_eq!(result(machine).await, Err("[\"first\"]".to_string()));
        // And by an empty one.
        machine.set_disk(node, Disk::new());
        machine.start(node, |process| Err(std::fs::read_dir(&process.root).unwrap().count().to_string()));
        assert_eq!(result(machine).await, Err("0".to_string()));
        String::new()
    });
}

/// What a program meets that creates a file, writes 6000 bytes, syncs, writes 6000 more, syncs, and reads.
fn met(fault: PointFault, operation: u64, reads: bool) -> (String, Option<(u64, String)>) {
    let (told, _) = story(async move |machine: Machine| {
        let node = machine.add_node(NodeOptions::new("one", 1));
        machine.fault_at(node, FaultPoint { fault, operation, reads });
        machine.start(node, |process| {
            let mut file = File::options()
                .create(true)
                .truncate(false)
                .read(true)
                .write(true)
                .open(process.root.join("file"))
                .map_err(|error| format!("create {}", error.kind()))?;
            for _ in 0..2 {
                match file.write(&[7; 6000]) {
                    Ok(6000) => {}
                    other => return Err(format!("write {other:?}")),
                }
                file.sync_all().map_err(|error| format!("sync {error}"))?;
            }
            match file.read_at(&mut [0; 100], 0) {
                Ok(100) => {}
                other => return Err(format!("read {other:?}")),
            }
            file.read(&mut [0; 1]).map(drop).map_err(|error| format!("read {error}"))
        });
        let said = result(machine).await.err().unwrap_or_default();
        let fell = machine.fault_fell(node);
        machine.start(node, |process| {
            std::fs::write(process.root.join("next"), [1; 9000]).map_err(|e| e.to_string())
        });
        assert_eq!(result(machine).await, Ok(()), "the next incarnation is healthy");
        let fell = fell.map(|CrashSite { operation, call, .. }| format!("{operation} {call}"));
        format!("{said}|{}", fell.unwrap_or_default())
    });
    let (said, fell) = told.split_once('|').unwrap();
    let fell = fell.split_once(' ').map(|(number, call)| (number.parse().unwrap(), call.to_string()));
    (said.to_string(), fell)
}

#[test]
fn a_fault_falls_at_the_chosen_call() {
    let fell = |number, call: &str| Some((number, call.to_string()));
    let eio = PointFault::Error(Errno::EIO);
    assert_eq!(met(eio, 1, false).1, fell(1, "create"));
    assert_eq!(met(eio, 4, false).1, fell(4, "write"));
    assert_eq!(met(eio, 5, false).1, fell(5, "fsync"));
    assert_eq!(met(eio, 6, false), (String::new(), None), "there are five calls");
    let (said, site) = met(eio, 1, true);
    assert!(said.starts_with("read Err"), "{said}");
    assert_eq!(site, fell(0, "read"));
    assert_eq!(met(PointFault::Short(10), 2, false), ("write Ok(10)".to_string(), fell(2, "write")));
    assert_eq!(met(PointFault::Short(10), 1, true), ("read Ok(10)".to_string(), fell(0, "read")));
    let (said, site) = met(PointFault::SyncError, 3, false);
    assert!(said.starts_with("sync Input/output error"), "{said}");
    assert_eq!(site, fell(3, "fsync"));
    // The second write finds the rest of its first page.
    assert_eq!(met(PointFault::FullDisk, 4, false), ("write Ok(2192)".to_string(), fell(4, "write")));
    let (said, _) = met(PointFault::FullDisk, 2, false);
    assert!(said.contains("StorageFull"), "{said}");
}

#[test]
fn a_fault_that_does_not_fit_the_call_does_not_fall() {
    for (fault, operation) in [
        (PointFault::SyncError, 2),
        (PointFault::Short(5), 3),
        (PointFault::Short(6000), 2),
        (PointFault::FullDisk, 3),
    ] {
        assert_eq!(met(fault, operation, false), (String::new(), None), "{fault:?}");
    }
}

#[test]
fn an_engine_that_allocates_without_end_is_out_of_memory() {
    let hungry = |ask: fn() -> Result<(), String>| {
        run_isolated(Allowance::default(), move || {
            let options = Options { memory_limit_bytes: 64 << 20, ..Options::new(1) };
            let completed = sim::run(options, None, async move |machine: Machine| {
                let node = machine.add_node(NodeOptions::new("one", 1));
                machine.start(node, move |_| ask());
                result(machine).await
            });
            format!("{:?}", completed.map(|completed| completed.value)).into_bytes()
        })
        .unwrap()
    };
    let ended = hungry(|| {
        let mut kept = Vec::new();
        loop {
            kept.push(std::hint::black_box(vec![1_u8; 10_000]));
        }
    });
    assert_eq!(ended.end, End::OutOfMemory, "{}", ended.errors);
    let ended = hungry(|| {
        drop(std::hint::black_box(vec![0_u8; 1 << 40]));
        Ok(())
    });
    assert_eq!(ended.end, End::OutOfMemory, "{}", ended.errors);
    let ended = hungry(|| {
        for _ in 0..100 {
            drop(std::hint::black_box(vec![1_u8; 20 << 20]));
        }
        Ok(())
    });
    assert!(matches!(ended.end, End::Finished(_)), "what is given back counts no more: {ended:?}");
}
