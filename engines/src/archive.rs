//! A directory as one stream of bytes: a tar in which nothing but names and contents counts.
//!
//! Entries are sorted by name, directories before what is in them; owners, times and modes are constants. Two
//! directories with equal names and contents give equal bytes.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};

use tar::{Archive, Builder, EntryType, Header};

use crate::durable::{self, EntryKind};
use crate::{EngineError, EngineId, Result};

const FILE_MODE: u32 = 0o644;
const DIRECTORY_MODE: u32 = 0o755;
const BLOCK_BYTES: u64 = 512;

/// The end of a tar: two blocks of zeros.
const END_BYTES: u64 = 2 * BLOCK_BYTES;

/// Writes everything in and below `dir`, without `dir` itself; returns the number of bytes written.
pub(crate) fn pack(dir: &Path, sink: &mut dyn Write) -> Result<u64> {
    let mut sink = CountingWriter { sink, bytes: 0 };
    let mut builder = Builder::new(&mut sink);
    pack_entries(dir, Path::new(""), &mut builder)?;
    builder.finish().map_err(EngineError::io("writing a snapshot body"))?;
    drop(builder);
    Ok(sink.bytes)
}

/// Creates what [`pack`] wrote below the directory `dir`, which must exist and be empty, and syncs it all.
///
/// # Errors
/// `MalformedBody` for a name that leads out of `dir` or occurs twice, for an entry that is neither a file nor
/// a directory, for an archive that is cut short, and for bytes behind its end.
pub(crate) fn unpack(source: &mut dyn Read, dir: &Path, engine: EngineId) -> Result<()> {
    let mut source = WatchedReader { source, bytes: 0, failed: false };
    let outcome = unpack_entries(&mut source, dir);
    match outcome {
        Ok(()) => durable::sync_tree(dir),
        Err(Failure::Malformed(error)) if !source.failed => {
            Err(EngineError::MalformedBody { engine, reason: error.to_string() })
        }
        Err(Failure::Malformed(error)) => Err(EngineError::io("reading a snapshot body")(error)),
        Err(Failure::Disk(error)) => Err(error),
    }
}

fn pack_entries(dir: &Path, name: &Path, builder: &mut Builder<&mut CountingWriter<'_>>) -> Result<()> {
    for (path, kind) in durable::sorted_entries(dir)? {
        let name = name.join(path.file_name().expect("a directory entry has a name"));
        let packing = || format!("packing {}", path.display());
        match kind {
            EntryKind::Directory => {
                let mut header = header(EntryType::Directory, DIRECTORY_MODE, 0);
                builder.append_data(&mut header, &name, io::empty()).map_err(EngineError::io(packing()))?;
                pack_entries(&path, &name, builder)?;
            }
            EntryKind::File => {
                let file = File::open(&path).map_err(EngineError::io(packing()))?;
                let bytes = file.metadata().map_err(EngineError::io(packing()))?.len();
                let mut header = header(EntryType::Regular, FILE_MODE, bytes);
                builder.append_data(&mut header, &name, file).map_err(EngineError::io(packing()))?;
            }
        }
    }
    Ok(())
}

fn header(kind: EntryType, mode: u32, bytes: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(bytes);
    header
}

/// Whose fault it was that an archive could not be unpacked.
enum Failure {
    /// The archive's, or its source's.
    Malformed(io::Error),
    /// The disk's that it went to.
    Disk(EngineError),
}

fn unpack_entries(source: &mut WatchedReader<'_>, dir: &Path) -> std::result::Result<(), Failure> {
    let mut archive = Archive::new(&mut *source);
    let mut end_of_last_entry = 0;
    for entry in archive.entries().map_err(Failure::Malformed)? {
        let mut entry = entry.map_err(Failure::Malformed)?;
        end_of_last_entry = entry
            .size()
            .checked_next_multiple_of(BLOCK_BYTES)
            .and_then(|bytes| bytes.checked_add(entry.raw_file_position()))
            .ok_or_else(|| malformed("an entry has an impossible size".to_owned()))?;
        let target = dir.join(inner_name(&entry.path().map_err(Failure::Malformed)?)?);
        match entry.header().entry_type() {
            EntryType::Directory => unpack_directory(&target)?,
            EntryType::Regular => unpack_file(&mut entry, &target)?,
            other => return Err(malformed(format!("{} is a {other:?}", target.display()))),
        }
    }
    io::copy(source, &mut io::sink()).map_err(Failure::Malformed)?;
    if source.bytes.checked_sub(end_of_last_entry) != Some(END_BYTES) {
        let bytes = source.bytes;
        return Err(malformed(format!("it has {bytes} bytes; its last entry ends at {end_of_last_entry}")));
    }
    Ok(())
}

fn unpack_directory(target: &Path) -> std::result::Result<(), Failure> {
    std::fs::create_dir(target).map_err(|error| creation_failure(error, target))
}

fn unpack_file(entry: &mut impl EntryContent, target: &Path) -> std::result::Result<(), Failure> {
    let mut file = File::create_new(target).map_err(|error| creation_failure(error, target))?;
    let mut buffer = vec![0; 64 << 10];
    let mut missing = entry.content_bytes();
    loop {
        let read = entry.read(&mut buffer).map_err(Failure::Malformed)?;
        if read == 0 {
            break;
        }
        missing -= read as u64;
        file.write_all(&buffer[..read])
            .map_err(EngineError::io(format!("writing {}", target.display())))
            .map_err(Failure::Disk)?;
    }
    if missing > 0 {
        return Err(malformed(format!("{missing} bytes of {} are missing", target.display())));
    }
    Ok(())
}

/// A file's content in an archive, with its length as announced.
trait EntryContent: Read {
    fn content_bytes(&self) -> u64;
}

impl<R: Read> EntryContent for tar::Entry<'_, R> {
    fn content_bytes(&self) -> u64 {
        self.size()
    }
}

/// A name twice, or in a directory that did not come before it, is the archive's fault.
fn creation_failure(error: io::Error, target: &Path) -> Failure {
    match error.kind() {
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            malformed(format!("{} comes twice or out of order", target.display()))
        }
        _ => Failure::Disk(EngineError::io(format!("creating {}", target.display()))(error)),
    }
}

fn inner_name(name: &Path) -> std::result::Result<PathBuf, Failure> {
    let stays_inside = name.components().all(|component| matches!(component, Component::Normal(_)));
    if stays_inside && name.components().next().is_some() {
        Ok(name.to_path_buf())
    } else {
        Err(malformed(format!("the name {name:?} is not a plain relative path")))
    }
}

fn malformed(reason: String) -> Failure {
    Failure::Malformed(io::Error::new(io::ErrorKind::InvalidData, reason))
}

/// Counts what passes.
pub(crate) struct CountingWriter<'a> {
    sink: &'a mut dyn Write,
    bytes: u64,
}

impl Write for CountingWriter<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.sink.write(buffer)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

/// Counts what passes and remembers whether it was the source that failed, not the archive.
struct WatchedReader<'a> {
    source: &'a mut dyn Read,
    bytes: u64,
    failed: bool,
}

impl Read for WatchedReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer).inspect_err(|error| {
            self.failed = error.kind() != io::ErrorKind::Interrupted;
        })?;
        self.bytes += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn pack_to_vec(dir: &Path) -> Vec<u8> {
        let mut bytes = Vec::new();
        let length = pack(dir, &mut bytes).unwrap();
        assert_eq!(length, bytes.len() as u64);
        bytes
    }

    fn unpack_into(bytes: &[u8], dir: &Path) -> Result<()> {
        fs::create_dir(dir).unwrap();
        unpack(&mut { bytes }, dir, EngineId::Fjall)
    }

    fn plant(dir: &Path, files: &[&str]) {
        for file in files {
            let path = dir.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, file.repeat(100)).unwrap();
        }
    }

    #[test]
    fn equal_directories_give_equal_bytes_and_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let long_name = format!("long/{}", "n".repeat(200));
        let mut files = ["b", "a/c", "a/b/empty name?", "a.b", long_name.as_str()];
        plant(&dir.path().join("one"), &files);
        fs::create_dir(dir.path().join("one/nothing in here")).unwrap();
        fs::write(dir.path().join("one/empty"), b"").unwrap();
        files.reverse();
        fs::create_dir_all(dir.path().join("two/nothing in here")).unwrap();
        fs::write(dir.path().join("two/empty"), b"").unwrap();
        plant(&dir.path().join("two"), &files);
        let bytes = pack_to_vec(&dir.path().join("one"));
        assert_eq!(bytes, pack_to_vec(&dir.path().join("two")));
        unpack_into(&bytes, &dir.path().join("three")).unwrap();
        assert_eq!(bytes, pack_to_vec(&dir.path().join("three")));
        assert_eq!(fs::read_to_string(dir.path().join("three/a/c")).unwrap(), "a/c".repeat(100));
    }

    #[test]
    fn an_archive_of_nothing_is_its_end() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("one")).unwrap();
        let bytes = pack_to_vec(&dir.path().join("one"));
        assert_eq!(bytes, vec![0; 1024]);
        unpack_into(&bytes, &dir.path().join("two")).unwrap();
    }

    #[test]
    fn an_archive_cut_short_or_drawn_out_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        plant(&dir.path().join("one"), &["a", "b/c"]);
        let bytes = pack_to_vec(&dir.path().join("one"));
        let mut cases: Vec<Vec<u8>> =
            (0..bytes.len()).step_by(256).map(|length| bytes[..length].to_vec()).collect();
        cases.push(bytes[..bytes.len() - 1].to_vec());
        cases.push([bytes.as_slice(), &[0]].concat());
        cases.push([bytes.as_slice(), &[0; 512]].concat());
        cases.push([bytes.as_slice(), bytes.as_slice()].concat());
        for (number, case) in cases.iter().enumerate() {
            let outcome = unpack_into(case, &dir.path().join(format!("case-{number}")));
            assert!(
                matches!(outcome, Err(EngineError::MalformedBody { .. })),
                "{} of {} bytes gave {outcome:?}",
                case.len(),
                bytes.len()
            );
        }
    }

    /// An archive of entries made by hand: a name, a type and a content each.
    fn forge(entries: &[(&str, EntryType, &str)]) -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        for (name, kind, content) in entries {
            let mut header = header(*kind, FILE_MODE, content.len() as u64);
            // The name as it is: the library itself would refuse to write the hostile ones.
            header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
            if kind.is_symlink() || kind.is_hard_link() {
                header.set_link_name("/etc/passwd").unwrap();
            }
            header.set_cksum();
            builder.append(&header, content.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap()
    }

    #[test]
    fn hostile_archives_are_refused_and_stay_inside() {
        use EntryType as Kind;
        let dir = tempfile::tempdir().unwrap();
        let absolute = dir.path().join("outside").display().to_string();
        assert!(absolute.len() < 100);
        let cases: [&[(&str, Kind, &str)]; 11] = [
            &[("../outside", Kind::Regular, "x")],
            &[("a/../../outside", Kind::Regular, "x")],
            &[(&absolute, Kind::Regular, "x")],
            &[("./a", Kind::Regular, "x")],
            &[("", Kind::Regular, "x")],
            &[("link", Kind::Symlink, "")],
            &[("link", Kind::Link, "")],
            &[("device", Kind::Char, "")],
            &[("pipe", Kind::Fifo, "")],
            &[("a", Kind::Regular, "x"), ("a", Kind::Regular, "y")],
            &[("a/b", Kind::Regular, "x"), ("a", Kind::Directory, "")],
        ];
        for (number, entries) in cases.iter().enumerate() {
            let target = dir.path().join(format!("case-{number}"));
            let outcome = unpack_into(&forge(entries), &target);
            let names: Vec<_> = entries.iter().map(|(name, ..)| name).collect();
            assert!(matches!(outcome, Err(EngineError::MalformedBody { .. })), "{names:?} gave {outcome:?}");
            assert!(!dir.path().join("outside").exists(), "{names:?} got out");
            assert!(durable::sorted_entries(&target).is_ok(), "{names:?} left something odd");
        }
        let sound = forge(&[("a", Kind::Directory, ""), ("a/b", Kind::Regular, "x")]);
        unpack_into(&sound, &dir.path().join("sound")).unwrap();
        assert_eq!(fs::read(dir.path().join("sound/a/b")).unwrap(), b"x");
    }

    #[test]
    fn a_failing_source_is_no_malformed_archive() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("the link broke"))
            }
        }
        let dir = tempfile::tempdir().unwrap();
        plant(&dir.path().join("one"), &["a"]);
        let bytes = pack_to_vec(&dir.path().join("one"));
        for length in [0, 100, 600, bytes.len() - 100] {
            let target = dir.path().join(format!("cut-{length}"));
            fs::create_dir(&target).unwrap();
            let outcome = unpack(&mut bytes[..length].chain(Broken), &target, EngineId::Fjall);
            assert!(matches!(outcome, Err(EngineError::Io { .. })), "{length} bytes gave {outcome:?}");
        }
    }

    #[test]
    fn links_are_not_packed() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("link")).unwrap();
        assert!(matches!(pack(dir.path(), &mut Vec::new()), Err(EngineError::Misuse(_))));
    }
}
