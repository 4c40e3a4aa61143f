//! From paths to inodes.

use super::Vfs;
use super::error::{Error, Result};
use super::mount::MountId;
use crate::disk::{Disk, Errno, FileType, InodeNumber};
use libc::c_int;
use std::sync::Arc;

/// Bytes of the longest name (`NAME_MAX`).
const NAME_MAX: usize = 255;
/// Bytes of a path with its terminating NUL (`PATH_MAX`).
const PATH_MAX: usize = 4096;

/// Where a walk begins, and the path to walk from there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) mount: MountId,
    base: InodeNumber,
    rest: &'a [u8],
    descriptor: Option<c_int>,
}

/// The last component of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Last<'a> {
    Name(&'a [u8]),
    /// `.`
    Dot,
    /// `..`
    DotDot,
    /// There is none: the path is that of the mount itself.
    Root,
}

/// The directory that holds the last component of a path, and that component.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parent<'a> {
    pub(super) directory: InodeNumber,
    pub(super) last: Last<'a>,
    /// Whether the path ends with `/`, so that only a directory is meant.
    pub(super) trailing_slash: bool,
}

impl Vfs {
    /// The mount that a path leads into: by its prefix where it is absolute, else by the directory that
    /// `directory` refers to. `None` where it is not ours. Takes no memory for a path in plain form.
    pub fn resolve_mount(&self, directory: c_int, path: &[u8]) -> Option<MountId> {
        if path.first() == Some(&b'/') {
            return self.split_prefix(path).map(|(mount, _)| mount);
        }
        self.descriptors.get(directory).ok().map(|description| description.mount)
    }

    /// `realpath`: the path without `.`, `..` and needless slashes, of something that exists.
    pub fn realpath(&self, directory: c_int, path: &[u8]) -> Result<Vec<u8>> {
        let place = self.place(directory, path)?;
        let inode = self.lookup(place)?;
        let disk = self.disk(place.mount);
        let mut names: Vec<&[u8]> = Vec::new();
        let mut above = inode;
        if disk.file_type(inode) == FileType::File {
            let parent = self.parent(place)?;
            let Last::Name(name) = parent.last else { unreachable!("a file is reached by its name") };
            names.push(name);
            above = parent.directory;
        }
        while above != InodeNumber::ROOT {
            let parent = disk.parent(above);
            let entry = disk.exists(parent).then(|| disk.entries(parent).find(|&(_, inode)| inode == above));
            let (name, _) = entry.flatten().ok_or(Errno::ENOENT)?;
            names.push(name);
            above = parent;
        }
        let mut real = self.prefix(place.mount).as_bytes().to_vec();
        for name in names.into_iter().rev() {
            real.push(b'/');
            real.extend_from_slice(name);
        }
        Ok(real)
    }

    /// Where the walk of `path` begins.
    pub(super) fn place<'a>(&self, directory: c_int, path: &'a [u8]) -> Result<Place<'a>> {
        if path.is_empty() {
            return Err(Errno::ENOENT.into());
        }
        if path.len() >= PATH_MAX {
            return Err(Errno::ENAMETOOLONG.into());
        }
        if path[0] == b'/' {
            let (mount, rest) = self.split_prefix(path).ok_or(Errno::ENOENT)?;
            return Ok(Place { mount, base: InodeNumber::ROOT, rest, descriptor: None });
        }
        if directory == libc::AT_FDCWD {
            return Err(Error::Unsupported { call: "a path relative to the working directory" });
        }
        let description = self.descriptors.get(directory)?;
        if self.disk(description.mount).file_type(description.inode) != FileType::Directory {
            return Err(Errno::ENOTDIR.into());
        }
        let (mount, base) = (description.mount, description.inode);
        Ok(Place { mount, base, rest: path, descriptor: Some(directory) })
    }

    /// The inode that the whole path leads to.
    pub(super) fn lookup(&self, place: Place<'_>) -> Result<InodeNumber> {
        let disk = self.disk(place.mount);
        let found = walk(disk, place.base, place.rest)?;
        if place.rest.ends_with(b"/") && disk.file_type(found) != FileType::Directory {
            return Err(Errno::ENOTDIR.into());
        }
        Ok(found)
    }

    /// The directory that holds the last component, which need not exist.
    pub(super) fn parent<'a>(&self, place: Place<'a>) -> Result<Parent<'a>> {
        let disk = self.disk(place.mount);
        let end = place.rest.iter().rposition(|&byte| byte != b'/').map_or(0, |last| last + 1);
        let trailing_slash = end < place.rest.len();
        let path = &place.rest[..end];
        let start = path.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
        let directory = walk(disk, place.base, &path[..start])?;
        if disk.file_type(directory) != FileType::Directory {
            return Err(Errno::ENOTDIR.into());
        }
        let last = match &path[start..] {
            b"" => Last::Root,
            b"." => Last::Dot,
            b".." => Last::DotDot,
            name => Last::Name(name),
        };
        Ok(Parent { directory, last, trailing_slash })
    }

    /// The path within the mount, for descriptions and records.
    pub(super) fn path_in_mount(&self, place: Place<'_>) -> Arc<str> {
        let rest = place.rest.strip_prefix(b"/").unwrap_or(place.rest);
        let rest = String::from_utf8_lossy(rest);
        let base = place.descriptor.and_then(|descriptor| self.descriptors.get(descriptor).ok());
        match base {
            Some(base) if !base.path.is_empty() => format!("{}/{rest}", base.path).into(),
            _ => rest.into(),
        }
    }

    /// The mount by whose prefix `path` begins, and what follows the prefix.
    fn split_prefix<'a>(&self, path: &'a [u8]) -> Option<(MountId, &'a [u8])> {
        let boundaries = (1..=path.len()).filter(|&end| end == path.len() || path[end] == b'/');
        for end in boundaries {
            if let Some(&mount) = self.prefixes.get(&path[..end]) {
                return Some((mount, &path[end..]));
            }
        }
        self.split_unusual_prefix(path)
    }

    /// The same for a path with `//` or `/./` within the prefix.
    fn split_unusual_prefix<'a>(&self, path: &'a [u8]) -> Option<(MountId, &'a [u8])> {
        let unusual = path.windows(2).any(|pair| pair == b"//" || pair == b"/.");
        if !unusual {
            return None;
        }
        let mut plain = Vec::new();
        let mut end = 0;
        for component in path.split(|&byte| byte == b'/') {
            end += component.len();
            if !matches!(component, b"" | b".") {
                plain.push(b'/');
                plain.extend_from_slice(component);
                if let Some(&mount) = self.prefixes.get(&plain[..]) {
                    return Some((mount, &path[end..]));
                }
            }
            end += 1;
        }
        None
    }
}

/// Walks `path` from `base`. Empty components are passed over.
fn walk(disk: &Disk, base: InodeNumber, path: &[u8]) -> Result<InodeNumber> {
    let components = path.split(|&byte| byte == b'/').filter(|component| !component.is_empty());
    components.into_iter().try_fold(base, |inode, component| step(disk, inode, component))
}

/// What `component` leads to from `inode`.
pub(super) fn step(disk: &Disk, inode: InodeNumber, component: &[u8]) -> Result<InodeNumber> {
    if disk.file_type(inode) != FileType::Directory {
        return Err(Errno::ENOTDIR.into());
    }
    match component {
        b"." => Ok(inode),
        b".." if inode == InodeNumber::ROOT => {
            Err(Error::Unsupported { call: "a path that leaves its mount by `..`" })
        }
        b".." => Ok(disk.parent(inode)).and_then(|parent| exists(disk, parent)),
        name => disk.entry(inode, name).ok_or_else(|| {
            let too_long = name.len() > NAME_MAX && !disk.is_removed(inode);
            if too_long { Errno::ENAMETOOLONG } else { Errno::ENOENT }.into()
        }),
    }
}

/// The directory above a removed one may itself be gone.
fn exists(disk: &Disk, inode: InodeNumber) -> Result<InodeNumber> {
    if disk.exists(inode) { Ok(inode) } else { Err(Errno::ENOENT.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Stamp;

    const HERE: c_int = libc::AT_FDCWD;

    #[test]
    fn a_path_leads_into_the_mount_whose_prefix_it_has() {
        let mut vfs = Vfs::new();
        let one = vfs.mount("/brownout/node-1.1", Disk::new());
        let two = vfs.mount("/brownout/node-1.10", Disk::new());
        let cases: [(&str, Option<MountId>); 10] = [
            ("/brownout/node-1.1", Some(one)),
            ("/brownout/node-1.1/", Some(one)),
            ("/brownout/node-1.1/db/log", Some(one)),
            ("/brownout/node-1.10/db", Some(two)),
            ("/brownout/node-1.1x", None),
            ("/brownout", None),
            ("/brownout//node-1.1/db", Some(one)),
            ("/./brownout/./node-1.10", Some(two)),
            ("/etc/passwd", None),
            ("db/log", None),
        ];
        for (path, expected) in cases {
            assert_eq!(vfs.resolve_mount(HERE, path.as_bytes()), expected, "{path}");
        }
        vfs.unmount(one);
        assert_eq!(vfs.resolve_mount(HERE, b"/brownout/node-1.1/db"), None);
    }

    #[test]
    fn a_relative_path_leads_into_the_mount_of_its_directory() {
        let mut vfs = Vfs::new();
        let mount = vfs.mount("/m", Disk::new());
        vfs.mkdirat(Stamp::default(), HERE, b"/m/d", 0o755).unwrap();
        let directory = vfs.openat(Stamp::default(), HERE, b"/m/d", libc::O_RDONLY, 0).unwrap();
        assert_eq!(vfs.resolve_mount(directory, b"file"), Some(mount));
        let file = vfs.openat(Stamp::default(), directory, b"file", libc::O_CREAT, 0o644).unwrap();
        assert_eq!(&**vfs.describe(file).unwrap().path, "d/file");
        assert_eq!(vfs.realpath(directory, b".././d//file").unwrap(), b"/m/d/file");
        assert_eq!(vfs.place(file, b"x").unwrap_err(), Errno::ENOTDIR.into());
    }

    #[test]
    fn what_is_not_supported_fails_by_name() {
        let mut vfs = Vfs::new();
        vfs.mount("/m", Disk::new());
        let outside = vfs.fstatat(HERE, b"/m/../m", 0).unwrap_err();
        assert_eq!(
            outside.to_string(),
            "not supported by the virtual file system: a path that leaves its mount by `..`"
        );
        let path = vfs.openat(Stamp::default(), HERE, b"/m/f", libc::O_PATH | libc::O_CREAT, 0).unwrap_err();
        assert_eq!((path, path.errno()), (Error::Unsupported { call: "open(O_PATH)" }, Errno::ENOSYS));
        assert!(matches!(vfs.fstatat(HERE, b"m/f", 0), Err(Error::Unsupported { .. })));
        assert!(matches!(vfs.symlinkat(), Err(Error::Unsupported { .. })));
    }

    #[test]
    fn a_path_longer_than_the_kernel_takes_is_refused() {
        let mut vfs = Vfs::new();
        vfs.mount("/m", Disk::new());
        let longest = [&b"/m/"[..], &b"./".repeat(2046)].concat();
        assert_eq!(longest.len(), 4095);
        assert!(vfs.fstatat(HERE, &longest, 0).is_ok());
        let longer = [longest, b"/".to_vec()].concat();
        assert_eq!(vfs.fstatat(HERE, &longer, 0), Err(Errno::ENAMETOOLONG.into()));
    }
}
