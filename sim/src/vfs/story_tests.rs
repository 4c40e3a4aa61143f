//! Stories of files and crashes: a script of calls, and what they answer.
//!
//! A line is a call; what it answers follows `→`, nothing where it only succeeds, or stands below it after `|`.
//! Paths are within the mount `/m`; an open file goes by the name before `=`.

use super::{MountId, Result, Vfs};
use crate::disk::{
    Disk, Keep, Node, PendingOperation, Profile, Sectors, Stamp, SyncFate, Tear, TornSize, View, crash_image,
};
use std::collections::BTreeMap;
use std::fmt::Write;

struct Story {
    vfs: Vfs,
    mount: MountId,
    files: BTreeMap<String, i32>,
    time_ns: u64,
}

/// Runs `script` and gives it back with the answers.
fn tell(script: &str) -> String {
    let mut vfs = Vfs::new();
    let mount = vfs.mount("/m", Disk::new());
    let mut story = Story { vfs, mount, files: BTreeMap::new(), time_ns: 0 };
    let mut told = String::new();
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        story.time_ns += 1000;
        match story.call(line) {
            Ok(answer) if answer.is_empty() || answer.starts_with('\n') => {
                writeln!(told, "{line}{answer}").unwrap()
            }
            Ok(answer) => writeln!(told, "{line} → {answer}").unwrap(),
            Err(error) => writeln!(told, "{line} → {error}").unwrap(),
        }
        story.vfs.disk(story.mount).check_invariants();
    }
    told
}

fn path(name: &str) -> Vec<u8> {
    if name == "/" { b"/m".to_vec() } else { format!("/m/{name}").into_bytes() }
}

const HERE: i32 = libc::AT_FDCWD;

impl Story {
    fn call(&mut self, line: &str) -> Result<String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let stamp = Stamp::new(self.time_ns, 7);
        let number = |word: &str| word.parse::<i64>().unwrap();
        let vfs = &mut self.vfs;
        match words[..] {
            [file, "=", "open", name, flags] => {
                let descriptor = vfs.openat(stamp, HERE, &path(name), open_flags(flags), 0o644)?;
                self.files.insert(file.to_owned(), descriptor);
            }
            [copy, "=", "dup", file] => {
                let descriptor = vfs.dup(self.files[file])?;
                self.files.insert(copy.to_owned(), descriptor);
            }
            ["close", file] => vfs.close(self.files.remove(file).unwrap())?,
            ["write", file, text] => {
                let done = vfs.write_with(stamp, self.files[file], text.as_bytes(), None, 0)?;
                if let Some(sync) = vfs.sync_of_write(self.files[file], done, 0) {
                    vfs.sync_end(stamp, sync, SyncFate::Honest)?;
                }
                let written = done.count;
                return Ok(if written == text.len() { String::new() } else { format!("{written} bytes") });
            }
            ["fill", file, offset, length, with] => {
                let bytes = vec![with.as_bytes()[0]; usize::try_from(number(length)).unwrap()];
                let written = vfs.pwrite(stamp, self.files[file], &bytes, number(offset))?;
                return Ok(if written == bytes.len() { String::new() } else { format!("{written} bytes") });
            }
            ["read", file] => {
                let mut bytes = vec![0; 100_000];
                let count = vfs.read(self.files[file], &mut bytes)?;
                return Ok(show(&bytes[..count]));
            }
            ["truncate", file, size] => vfs.ftruncate(stamp, self.files[file], number(size))?,
            ["fsync", file] => vfs.fsync(stamp, self.files[file], SyncFate::Honest)?,
            ["fdatasync", file] => vfs.fdatasync(stamp, self.files[file], SyncFate::Honest)?,
            ["fsync", file, "lying"] => vfs.fsync(stamp, self.files[file], SyncFate::Lying)?,
            ["fsync", file, "failing"] => vfs.fsync(stamp, self.files[file], SyncFate::Failed)?,
            ["fsyncdir", name] => {
                let descriptor =
                    vfs.openat(stamp, HERE, &path(name), libc::O_RDONLY | libc::O_DIRECTORY, 0)?;
                vfs.fsync(stamp, descriptor, SyncFate::Honest)?;
                vfs.close(descriptor)?;
            }
            ["mkdir", name] => vfs.mkdirat(stamp, HERE, &path(name), 0o755)?,
            ["unlink", name] => vfs.unlinkat(stamp, HERE, &path(name), 0)?,
            ["chmod", name, mode] => {
                vfs.fchmodat(stamp, HERE, &path(name), u32::from_str_radix(mode, 8).unwrap())?;
            }
            ["mode", name] => {
                let (_, metadata) = vfs.fstatat(HERE, &path(name), 0)?;
                return Ok(format!("{:o}", metadata.mode()));
            }
            ["rmdir", name] => vfs.unlinkat(stamp, HERE, &path(name), libc::AT_REMOVEDIR)?,
            ["rename", from, to] => vfs.renameat2(stamp, (HERE, &path(from)), (HERE, &path(to)), 0)?,
            ["capacity", bytes] => vfs.disk_mut(self.mount).set_capacity_bytes(number(bytes).unsigned_abs()),
            ["flock", file, kind] => {
                let operation = match kind {
                    "shared" => libc::LOCK_SH,
                    "exclusive" => libc::LOCK_EX,
                    _ => libc::LOCK_UN,
                };
                vfs.flock(self.files[file], operation | libc::LOCK_NB)?;
            }
            ["tree"] => return Ok(self.tree(View::Volatile)),
            ["medium"] => return Ok(self.tree(View::Durable)),
            ["operations"] => return Ok(self.operations()),
            ["crash", profile, keep] => return Ok(self.crash(profile.parse().unwrap(), keep)),
            _ => panic!("no such call: {line}"),
        }
        Ok(String::new())
    }

    fn tree(&self, view: View) -> String {
        let tree = self.vfs.disk(self.mount).tree(view);
        let shown = tree.iter().map(|(path, node)| match node {
            Node::Directory => format!("{path}/"),
            Node::File(bytes) => format!("{path}={}", show(bytes)),
        });
        format!("[{}]", shown.collect::<Vec<_>>().join(" "))
    }

    fn operations(&self) -> String {
        self.vfs.last_operations(self.mount).map(|operation| format!("\n| {operation}")).collect()
    }

    /// Crashes, keeping `all`, `none`, all `but:` one kind, `only:` one kind, or with torn writes.
    fn crash(&mut self, profile: Profile, keep: &str) -> String {
        let mut choices = |operation: &PendingOperation| {
            let kind = operation.kind().name();
            let (sectors, size) = match keep.split_once(':') {
                Some(("but", lost)) if kind == lost => return Keep::Drop,
                Some(("only", kept)) if kind != kept => return Keep::Drop,
                Some(("torn", how)) if kind == "write" => how.split_once(',').unwrap(),
                Some(_) => return Keep::Whole,
                None if keep == "all" => return Keep::Whole,
                None => return Keep::Drop,
            };
            let (offset, length) = operation.range().unwrap();
            let survives = |sector| sectors.as_bytes()[usize::try_from(sector).unwrap()] == b'1';
            let sectors = Sectors::from_fn(Sectors::touched(offset, length), survives);
            let size = match size {
                "size-kept" => TornSize::Kept,
                "size-lost" => TornSize::Lost,
                _ => TornSize::FollowsData,
            };
            Keep::Torn(Tear::sectors(sectors, size))
        };
        let (image, report) = crash_image(self.vfs.disk(self.mount), profile, 0, &mut choices);
        self.vfs.unmount(self.mount);
        self.files.clear();
        self.mount = self.vfs.mount("/m", image);
        report.losses.iter().map(|loss| format!("\n| {loss}")).collect()
    }
}

fn open_flags(letters: &str) -> i32 {
    letters.chars().fold(0, |flags, letter| {
        flags
            | match letter {
                'r' => libc::O_RDONLY,
                'w' => libc::O_RDWR,
                'c' => libc::O_CREAT,
                'x' => libc::O_EXCL,
                't' => libc::O_TRUNC,
                'a' => libc::O_APPEND,
                's' => libc::O_DSYNC,
                _ => panic!("no such flag: {letter}"),
            }
    })
}

/// Bytes as text, long runs as a count.
fn show(bytes: &[u8]) -> String {
    let runs = bytes.chunk_by(|one, next| one == next);
    let shown = runs.map(|run| {
        let byte = if run[0] == 0 { '·' } else { char::from(run[0]) };
        if run.len() > 3 { format!("{byte}×{}", run.len()) } else { String::from(byte).repeat(run.len()) }
    });
    format!("\"{}\"", shown.collect::<String>())
}

/// Runs the calls of `story` and compares their answers with those in it.
fn check(story: &str) {
    let lines: Vec<&str> = story.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let calls = lines.iter().filter(|line| !line.starts_with('|'));
    let script: Vec<&str> = calls.map(|line| line.split(" →").next().expect("a first part")).collect();
    let told = tell(&script.join("\n"));
    assert!(told.lines().eq(lines), "what happened is\n{told}");
}

#[test]
fn a_synced_file_is_gone_where_its_directory_was_not_synced() {
    check(
        r#"f = open log wc
         write f hello
         fsync f
         tree → [log="hello"]
         medium → []
         crash posix none
         | #1 create log, thread 7 at 1000 ns: lost
         tree → []"#,
    );
}

#[test]
fn a_file_and_every_directory_above_it_must_be_synced() {
    check(
        r#"mkdir db
         f = open db/log wc
         write f hello
         fsync f
         fsyncdir db
         crash posix none
         | #1 mkdir db, thread 7 at 1000 ns: lost
         tree → []
         mkdir db
         f = open db/log wc
         write f hello
         fsync f
         fsyncdir db
         fsyncdir /
         crash posix none
         tree → [db/ db/log="hello"]"#,
    );
}

#[test]
fn fdatasync_makes_a_new_size_durable_but_no_attributes() {
    check(
        r#"f = open log wc
         fsyncdir /
         write f hello
         chmod log 600
         fdatasync f
         truncate f 3
         crash posix none
         | #3 set attributes log, thread 7 at 4000 ns: lost
         | #4 truncate log to 3 bytes, thread 7 at 6000 ns: lost
         tree → [log="hello"]
         mode log → 100644
         f = open log w
         chmod log 600
         fsync f
         crash posix none
         mode log → 100600"#,
    );
}

#[test]
fn a_write_is_torn_at_sectors_of_the_file() {
    check(
        r#"f = open log wc
         fsyncdir /
         fill f 100 1500 x
         crash posix torn:1010,size-kept
         | #2 write log 1500 bytes at 100, thread 7 at 3000 ns: torn, 2 of 4 sectors survive
         tree → [log="·×100x×412·×512x×512·×64"]
         f = open log w
         fill f 100 1500 y
         crash posix torn:0100,size-kept
         | #3 write log 1500 bytes at 100, thread 7 at 7000 ns: torn, 1 of 4 sectors survive
         tree → [log="·×100x×412y×512x×512·×64"]
         f = open log w
         fill f 1600 1000 z
         crash posix torn:110,size-lost
         | #4 write log 1000 bytes at 1600, thread 7 at 11000 ns: torn, 2 of 3 sectors survive
         tree → [log="·×100x×412y×512x×512·×64"]
         f = open log w
         fill f 1600 1000 z
         crash posix torn:010,size-follows-data
         | #5 write log 1000 bytes at 1600, thread 7 at 15000 ns: torn, 1 of 3 sectors survive
         tree → [log="·×100x×412y×512x×512·×512z×512"]"#,
    );
}

#[test]
fn a_lost_truncation_brings_the_bytes_back() {
    check(
        r#"f = open log wc
         write f 0123456789
         fsync f
         fsyncdir /
         truncate f 2
         tree → [log="01"]
         crash posix but:truncate
         | #3 truncate log to 2 bytes, thread 7 at 5000 ns: lost
         tree → [log="0123456789"]"#,
    );
}

#[test]
fn replacing_a_file_by_rename_leaves_the_old_or_the_new_one() {
    check(
        r#"f = open current wc
         write f old
         fsync f
         fsyncdir /
         g = open temporary wc
         write g new
         fsync g
         rename temporary current
         tree → [current="new"]
         crash posix none
         | #3 create temporary, thread 7 at 5000 ns: lost
         | #5 rename temporary → current, thread 7 at 8000 ns: lost with #3
         tree → [current="old"]
         g = open temporary wc
         write g new
         fsync g
         rename temporary current
         crash posix only:create
         | #8 rename temporary → current, thread 7 at 15000 ns: lost
         tree → [current="old" temporary="new"]
         rename temporary current
         fsyncdir /
         crash posix none
         tree → [current="new"]"#,
    );
}

#[test]
fn replacing_a_file_without_syncing_the_new_one_may_leave_it_empty() {
    check(
        r#"f = open current wc
         write f old
         fsync f
         fsyncdir /
         g = open temporary wc
         write g new
         rename temporary current
         fsyncdir /
         crash posix none
         | #4 write current 3 bytes at 0, thread 7 at 6000 ns: lost
         tree → [current=""]"#,
    );
}

#[test]
fn a_rename_between_directories_is_durable_with_either() {
    check(
        r#"mkdir a
         mkdir b
         f = open a/x wc
         write f data
         fsync f
         fsyncdir a
         fsyncdir b
         fsyncdir /
         rename a/x b/x
         crash posix none
         | #5 rename a/x → b/x, thread 7 at 9000 ns: lost
         tree → [a/ a/x="data" b/]
         rename a/x b/x
         fsyncdir a
         crash posix none
         tree → [a/ b/ b/x="data"]
         rename b/x a/y
         fsyncdir a
         crash posix none
         tree → [a/ a/y="data" b/]"#,
    );
}

#[test]
fn what_was_moved_into_a_new_directory_is_not_lost_with_it() {
    check(
        r#"f = open precious wc
         write f data
         fsync f
         fsyncdir /
         mkdir new
         rename precious new/precious
         crash posix only:rename
         | #3 mkdir new, thread 7 at 5000 ns: lost
         | #4 rename precious → new/precious, thread 7 at 6000 ns: lost with #3
         tree → [precious="data"]
         mkdir new
         rename precious new/precious
         fsyncdir new
         crash posix none
         tree → [new/ new/precious="data"]"#,
    );
}

#[test]
fn an_unlinked_file_lives_while_it_is_open_and_comes_back_if_the_unlink_is_lost() {
    check(
        r#"f = open log wc
         write f hello
         fsync f
         fsyncdir /
         unlink log
         tree → []
         g = dup f
         close f
         write g more
         fsync g
         crash posix none
         | #3 unlink log, thread 7 at 5000 ns: lost
         tree → [log="hellomore"]"#,
    );
}

#[test]
fn a_lying_sync_loses_what_it_promised_until_an_honest_one() {
    check(
        r#"f = open log wc
         fsyncdir /
         write f hello
         fsync f lying
         crash lying none
         | #2 write log 5 bytes at 0, thread 7 at 3000 ns: lost (promised by lying sync 1)
         tree → [log=""]
         f = open log w
         write f hello
         fsync f lying
         crash posix none
         tree → [log="hello"]
         f = open log wa
         g = open other wc
         write f again
         fsync f lying
         fsync g
         crash lying none
         | #4 create other, thread 7 at 13000 ns: lost
         tree → [log="helloagain"]"#,
    );
}

#[test]
fn a_failed_sync_loses_the_writes_though_a_later_one_succeeds() {
    check(
        r#"f = open log wc
         fsyncdir /
         write f hello
         fsync f
         write f lost!
         fsync f failing → EIO
         fsync f
         tree → [log="hellolost!"]
         crash process-kill none
         tree → [log="hellolost!"]
         crash posix all
         tree → [log="hello·×5"]"#,
    );
}

#[test]
fn a_process_kill_loses_nothing_but_makes_nothing_durable() {
    check(
        r#"f = open log wc
         write f hello
         crash process-kill none
         tree → [log="hello"]
         medium → []
         crash posix none
         | #1 create log, thread 7 at 1000 ns: lost
         | #2 write log 5 bytes at 0, thread 7 at 2000 ns: lost
         tree → []"#,
    );
}

#[test]
fn writes_to_a_synchronous_file_are_durable_at_once() {
    check(
        r#"f = open log wcs
         fsyncdir /
         write f hello
         crash posix none
         tree → [log="hello"]"#,
    );
}

#[test]
fn a_full_disk_cuts_a_write_short_and_then_refuses() {
    check(
        r#"capacity 12288
         f = open log wc
         fill f 0 6000 a
         fill f 6000 6000 b → 2192 bytes
         fill f 8192 1 c → ENOSPC
         fill f 0 8192 d
         mkdir more → ENOSPC
         truncate f 4096
         mkdir more
         fill f 4096 1 e → ENOSPC
         tree → [log="d×4096" more/]"#,
    );
}

#[test]
fn locks_belong_to_the_description_and_go_with_it() {
    check(
        r#"f = open lock wc
         g = open lock w
         flock f shared
         flock g shared
         flock f exclusive → EAGAIN
         flock f shared
         flock g unlock
         flock f exclusive
         flock g shared → EAGAIN
         h = dup f
         close f
         flock g shared → EAGAIN
         close h
         flock g exclusive"#,
    );
}

#[test]
fn the_last_operations_can_be_read() {
    check(
        r#"mkdir db
         f = open db/log wc
         write f hello
         fdatasync f
         truncate f 2
         rename db/log db/old
         unlink db/old
         operations
         |      1           1000 ns  thread 7   mkdir db
         |      2           2000 ns  thread 7   create db/log
         |      3           3000 ns  thread 7   write db/log 5 bytes at 0
         |      4           4000 ns  thread 7   fdatasync db/log
         |      5           5000 ns  thread 7   truncate db/log to 2 bytes
         |      6           6000 ns  thread 7   rename db/log → db/old
         |      7           7000 ns  thread 7   unlink db/old"#,
    );
}
