//! What a child of the explorer hands back: values in frames, each with its length before it, so that a long recording
//! is not bound to the size of one message.

use super::driver::Trouble::{self, Incomplete};
use super::driver::{OPENING, Run, Seen, WORKLOAD, describe_end};
use cluster::wire;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sim::isolation::{Allowance, End, Ended};
use sim::{Recorded, RecordedOperation, Recording};

/// A value with the length of its encoding before it.
pub(super) fn frame(value: &impl Serialize) -> Vec<u8> {
    let encoded = wire::encode(value).expect("what a child hands back can be encoded, one value at a time");
    [&(encoded.len() as u64).to_le_bytes()[..], &encoded].concat()
}

/// A recording as frames, or the words of what went wrong.
pub(super) fn pack(recording: &Result<Recording, String>) -> Vec<u8> {
    let mut bytes = frame(&recording.as_ref().map(|it| it.operations.len() as u64));
    if let Ok(recording) = recording {
        recording.operations.iter().for_each(|operation| bytes.extend(frame(operation)));
        recording.events.iter().for_each(|event| bytes.extend(frame(event)));
    }
    bytes
}

/// How many reads a recorded workload made, and its recording.
///
/// # Errors
/// As [`recording`].
pub(super) fn workload(ended: Ended) -> Result<(u64, Recording), Trouble> {
    let bytes = finished(ended, WORKLOAD)?;
    let mut rest = &bytes[..];
    Ok((take(&mut rest)?, unpack(&mut rest)?))
}

/// The recording of an opening that a process packed.
///
/// # Errors
/// What went wrong there, in words.
pub(super) fn recording(ended: Ended) -> Result<Recording, Trouble> {
    unpack(&mut &finished(ended, OPENING)?[..])
}

/// How the workload went with a fault in it, and what it did to the disk; or, in words, how its process ended before
/// it came to its end.
///
/// # Errors
/// Where that was the machine's doing, not the engine's.
pub(super) fn run(ended: Ended) -> Result<Result<(Run, Recording), String>, Trouble> {
    let bytes = match finished(ended, WORKLOAD) {
        Ok(bytes) => bytes,
        Err(trouble) => return Ok(Err(trouble.to_string())),
    };
    let mut rest = &bytes[..];
    match take::<Result<Result<Run, String>, String>>(&mut rest)?.map_err(Incomplete)? {
        Ok(run) => Ok(Ok((run, unpack(&mut rest)?))),
        Err(words) => Ok(Err(words)),
    }
}

/// What opening an image showed, or how its process ended.
///
/// # Errors
/// Where that was the machine's doing, not the engine's.
pub(super) fn seen(ended: Ended) -> Result<Seen, Trouble> {
    match ended.end {
        End::Finished(bytes) => take::<Result<Seen, String>>(&mut &bytes[..])?.map_err(Incomplete),
        end => {
            let (kind, words) = describe_end(&end, OPENING);
            Ok(Seen::ended(kind, format!("{words}\n{}", ended.errors.trim_end()).trim_end().to_owned()))
        }
    }
}

/// One value that a process framed, which resolved stacks.
///
/// # Errors
/// What went wrong there, in words.
pub(super) fn value<T: DeserializeOwned>(ended: Ended) -> Result<T, Trouble> {
    take(&mut &finished(ended, WORKLOAD)?[..])
}

fn finished(ended: Ended, allowance: Allowance) -> Result<Vec<u8>, Trouble> {
    match ended.end {
        End::Finished(bytes) => Ok(bytes),
        end => {
            let words = format!("{}\n{}", describe_end(&end, allowance).1, ended.errors.trim_end());
            Err(Incomplete(words.trim_end().to_owned()))
        }
    }
}

fn unpack(rest: &mut &[u8]) -> Result<Recording, Trouble> {
    let count = take::<Result<u64, String>>(rest)?.map_err(Incomplete)?;
    let operations = (0..count).map(|_| take::<RecordedOperation>(rest)).collect::<Result<_, _>>()?;
    let mut events = Vec::new();
    while !rest.is_empty() {
        events.push(take::<Recorded>(rest)?);
    }
    Ok(Recording { operations, events })
}

/// Takes the next value from the frames in `rest`.
fn take<T: DeserializeOwned>(rest: &mut &[u8]) -> Result<T, Trouble> {
    let cut = || Incomplete("what a process handed back is cut off".to_owned());
    let (length, after) = rest.split_first_chunk::<8>().ok_or_else(cut)?;
    let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
    let (encoded, after) = after.split_at_checked(length).ok_or_else(cut)?;
    *rest = after;
    wire::decode(encoded)
        .map_err(|error| Incomplete(format!("what a process handed back cannot be read: {error}")))
}
