//! Which pending operations a crash may lose: one table.

use std::fmt;

/// A kind of crash and of machine: what it may take.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// The process ends, the machine goes on: the page cache survives.
    ProcessKill,
    /// Power fails on the weakest machine that this crate knows: what was synced survives, and of the rest any part.
    /// Stricter than POSIX, which promises nothing across a crash but by a sync, in three points: sectors of 512 bytes
    /// and changes of names are atomic, and nothing is on the medium without what it needs, as an entry needs its
    /// directory.
    #[default]
    Posix,
    /// Power fails on ext4 with its default mount options: a journal in order, and data before the metadata that
    /// exposes it.
    Ext4Ordered,
    /// As `posix`, on a device whose cache may lose what it acknowledged.
    Lying,
}

/// What a profile allows. One row of the table below; a rule is added as a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Whether the page cache, and with it everything that is pending, survives.
    pub page_cache_survives: bool,
    /// Whether a write may be torn: between two sectors, or, where a journal has rules of its own, between two pages.
    pub writes_tear: bool,
    /// Whether what a lying sync promised may be lost. Where not, it is kept.
    pub device_cache_is_lost: bool,
    /// What a journal keeps in order; where there is none, what is pending survives in any order.
    pub journalling: Option<Journalling>,
    /// Where the rules come from.
    pub source: &'static str,
}

/// What a file system with a journal keeps in order, and what it writes by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Journalling {
    /// The age, in nanoseconds of virtual time, at which a change of metadata has survived.
    pub metadata_age_ns: u64,
    /// The age, in nanoseconds of virtual time, at which written data have survived.
    pub data_age_ns: u64,
    /// The rules.
    pub order: &'static [OrderRule],
}

/// One rule of a journalling file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrderRule {
    /// Its name, by which the code that keeps it refers to it.
    pub name: &'static str,
    /// What holds.
    pub holds: &'static str,
    /// Where that comes from.
    pub source: &'static str,
}

const SECOND_NS: u64 = 1_000_000_000;

/// The rules of ext4 with its default mount options: `data=ordered,delalloc,auto_da_alloc,commit=5,barrier=1`, blocks
/// of 4 KiB.
///
/// *Metadata* are entries, attributes, sizes set by truncation or `fallocate`, reserved space and holes; also a size
/// that grew and the data of which a failed sync lost. A write is data, also where it grows its file.
///
/// Stricter than the kernel and the device may be in four points, so that a loss which is found here is one there,
/// while some that happen there are not found here; profile `posix` has all but the last.
/// - A page is written whole or not at all, as by a device with physical sectors of 4 KiB. On one with sectors of 512
///   bytes the overwrite of a block tears: "Single block overwrite" in table 1 of Pillai et al., OSDI 2014.
/// - Where the last block of a file is allocated and only partly filled, kernels update the size as the write returns
///   (`ext4_da_should_update_i_disksize` in fs/ext4/inode.c), and zeros may stand at the end of the file after a crash.
///   The table follows what was measured: "Single block append" in the same table.
/// - A replacement flushes the file's data also where all of it has its blocks already (`replacement-flushes`; the
///   kernel does it only with delayed blocks, `i_reserved_data_blocks` in `ext4_alloc_da_blocks`).
/// - The rest of the page in which a truncation or a hole begins or ends keeps its bytes until the truncation or the
///   hole survives. The kernel zeroes it in the page cache (`ext4_block_truncate_page`), from where it may go first.
const EXT4_ORDERED: &[OrderRule] = &[
    OrderRule {
        name: "metadata-prefix",
        holds: "changes of metadata survive in the order in which they were done, whatever they change: one \
                transaction runs at a time",
        source: "Documentation/filesystems/ext4/journal.rst: replayed \"all the way to the latest commit record\"; \
                 include/linux/jbd2.h, `j_running_transaction`; Pillai et al., OSDI 2014, table 1, of ext4-ordered: \
                 \"Directory op\" is atomic, and \"Dir op → Any op\" is kept",
    },
    OrderRule {
        name: "sync-commits",
        holds: "an fsync of a directory, or of a file that has changed metadata of its own (it is new, was renamed, \
                has another size or time), commits all metadata changed before it began, of every file; so does \
                fdatasync, but of a file not for names, modes and times; one that only overwrites allocated blocks \
                commits nothing else",
        source: "ext4_fsync_journal in fs/ext4/fsync.c: ext4_force_commit for what is no regular file, else a commit \
                 of the transaction i_sync_tid, or i_datasync_tid; ext4_update_inode_fsync_trans in \
                 fs/ext4/ext4_jbd2.h",
    },
    OrderRule {
        name: "data-before-size",
        holds: "a file grows with its data: a write beyond the end, or into a hole, needs the metadata changed \
                before it and the bytes before its own; torn, its first pages survive and the size follows them",
        source: "Documentation/admin-guide/ext4.rst, data=ordered: \"All data are forced directly out to the main file \
                 system prior to its metadata being committed to the journal\"; delalloc; Pillai et al., OSDI 2014, \
                 table 1, of ext4-ordered: \"Multi-block prefix append\" and \"Append → Append (same file)\" are kept",
    },
    OrderRule {
        name: "pages-in-any-order",
        holds: "pages of 4 KiB within the size survive each on its own, across writes and files",
        source: "Pillai et al., OSDI 2014, table 1, of ext4-ordered: \"Overwrite → Any op\" and \"Multi-block \
                 append/writes\" fail",
    },
    OrderRule {
        name: "page-holds-earlier-writes",
        holds: "of two writes to one page the later does not survive without the earlier: the page is written whole",
        source: "mm/page-writeback.c: the unit that is dirty and written is the folio; mke2fs(8), -b: blocks of 4 KiB \
                 \"in most common cases\"; the model of ext4 by Bornholt et al., ASPLOS 2016, keeps writes to one \
                 block in order (github.com/uwplse/ferrite, rosette/ext4.rkt, `same-file-block-deps?`)",
    },
    OrderRule {
        name: "blocks-freed-first",
        holds: "a write to what a truncation or a hole freed needs it",
        source: "ext4_mb_clear_bb in fs/ext4/mballoc.c: \"We need to make sure we don't reuse the freed block until after \
                 the transaction is committed\"; so what is written there later gets blocks by a later change of \
                 metadata",
    },
    OrderRule {
        name: "replacement-flushes",
        holds: "a rename over an existing file, and the close of a file that was cut to nothing, binds the file's \
                data to the running transaction: no later metadata survive without the data",
        source: "Documentation/admin-guide/ext4.rst, auto_da_alloc; ext4_rename in fs/ext4/namei.c, \
                 ext4_release_file in fs/ext4/file.c; both by ext4_alloc_da_blocks in fs/ext4/inode.c",
    },
    OrderRule {
        name: "age",
        holds: "metadata older than 5 s and data older than 40 s have survived: data are due after 30 s, a flusher \
                looks every 5 s, and the size that they grow their file to is committed within 5 s more",
        source: "Documentation/admin-guide/ext4.rst, commit=nrsec; Documentation/admin-guide/sysctl/vm.rst, \
                 dirty_expire_centisecs and dirty_writeback_centisecs, with the defaults of mm/page-writeback.c \
                 (3000 and 500)",
    },
];

impl Profile {
    /// Every profile.
    pub const ALL: [Self; 4] = [Self::ProcessKill, Self::Posix, Self::Ext4Ordered, Self::Lying];

    /// The profile's row of the table.
    pub const fn rules(self) -> Rules {
        match self {
            Self::ProcessKill => Rules {
                page_cache_survives: true,
                writes_tear: false,
                device_cache_is_lost: false,
                journalling: None,
                source: "write(2): a read that occurs after a write has returned gives the new data, whoever reads; \
                         the page cache belongs to the kernel, not to the process",
            },
            Self::Posix => Rules {
                page_cache_survives: false,
                writes_tear: true,
                device_cache_is_lost: false,
                journalling: None,
                source: "POSIX.1-2024 fsync(): only what was synchronized is assured; Pillai et al., \"All \
                         File Systems Are Not Created Equal\", OSDI 2014, table 1, for what real systems \
                         reorder and tear",
            },
            Self::Ext4Ordered => Rules {
                page_cache_survives: false,
                writes_tear: true,
                device_cache_is_lost: false,
                journalling: Some(Journalling {
                    metadata_age_ns: 5 * SECOND_NS,
                    data_age_ns: 40 * SECOND_NS,
                    order: EXT4_ORDERED,
                }),
                source: "each rule its own: `Journalling::order`",
            },
            Self::Lying => Rules {
                page_cache_survives: false,
                writes_tear: true,
                device_cache_is_lost: true,
                journalling: None,
                source: "Zheng et al., \"Understanding the Robustness of SSDs under Power Fault\", FAST 2013: \
                         thirteen of fifteen devices failed, some by unserializable writes. That an honest sync \
                         keeps what earlier ones promised is this crate's own rule",
            },
        }
    }

    /// The name on the command line and in plans.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ProcessKill => "process-kill",
            Self::Posix => "posix",
            Self::Ext4Ordered => "ext4-ordered",
            Self::Lying => "lying",
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl std::str::FromStr for Profile {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|profile| profile.name() == name).ok_or_else(|| {
            format!("unknown profile `{name}`; known are {}", Self::ALL.map(Self::name).join(", "))
        })
    }
}
