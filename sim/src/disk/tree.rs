//! The tree of a disk: paths, and everything with its bytes.

use super::Disk;
use super::inode::{Body, DirectoryBody, InodeNumber};
use super::operation::Name;
use std::collections::BTreeMap;

/// Which state of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// What reads see.
    Volatile,
    /// What the medium holds.
    Durable,
}

/// A file or directory in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A directory.
    Directory,
    /// A file with its bytes.
    File(Vec<u8>),
}

impl View {
    pub(super) const fn entries(self, directory: &DirectoryBody) -> &BTreeMap<Name, InodeNumber> {
        match self {
            Self::Volatile => &directory.entries,
            Self::Durable => &directory.durable,
        }
    }
}

impl Disk {
    /// Everything on the disk by its path without a leading `/`, the root left out. Names that are not UTF-8
    /// are shown with replacement characters.
    pub fn tree(&self, view: View) -> BTreeMap<String, Node> {
        let mut tree = BTreeMap::new();
        self.walk(view, &mut |path, inode| {
            if path.is_empty() {
                return;
            }
            let node = match &self.inode(inode).body {
                Body::Directory(_) => Node::Directory,
                Body::File(file) => {
                    let content = match view {
                        View::Volatile => &file.content,
                        View::Durable => &file.durable,
                    };
                    let size = usize::try_from(content.size()).expect("a listed file fits in memory");
                    let mut bytes = vec![0; size];
                    content.read(0, &mut bytes);
                    Node::File(bytes)
                }
            };
            tree.insert(path.to_owned(), node);
        });
        tree
    }

    /// Visits every file and directory that `view` can reach with its path, directories before what they
    /// hold. A file with two names is visited twice.
    pub(super) fn walk(&self, view: View, visit: &mut dyn FnMut(&str, InodeNumber)) {
        self.walk_below(view, InodeNumber::ROOT, &mut String::new(), visit);
    }

    fn walk_below(
        &self,
        view: View,
        inode: InodeNumber,
        path: &mut String,
        visit: &mut dyn FnMut(&str, InodeNumber),
    ) {
        visit(path, inode);
        let Body::Directory(directory) = &self.inode(inode).body else { return };
        let length = path.len();
        for (name, &child) in view.entries(directory) {
            if length > 0 {
                path.push('/');
            }
            path.push_str(&String::from_utf8_lossy(name));
            self.walk_below(view, child, path, visit);
            path.truncate(length);
        }
    }

    /// A path for every file and directory: the one it has, else the one it has on the medium.
    pub(super) fn paths(&self) -> BTreeMap<InodeNumber, String> {
        let mut paths = BTreeMap::new();
        for view in [View::Volatile, View::Durable] {
            self.walk(view, &mut |path, inode| {
                paths.entry(inode).or_insert_with(|| path.to_owned());
            });
        }
        paths
    }
}
