//! What mappings of files need of the processor's memory.

use std::fmt;

/// What the processor lets a program do with a page. Everything else faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nothing.
    None,
    /// Loads.
    Read,
    /// Loads and stores.
    ReadWrite,
}

/// Memory that the mappings of files lie in, page by page. Addresses and lengths are whole pages.
///
/// It holds no meaning: which page shows what, and what a fault means, is [`crate::vfs`]'s.
pub trait Memory: fmt::Debug + Send {
    /// The address of `bytes` bytes that nobody has had before, without access; none where there are no more.
    /// The same sequence of calls gives the same addresses in every run.
    fn reserve(&mut self, bytes: usize) -> Option<usize>;

    /// Takes access to a range that is not mapped any more, and forgets its bytes.
    fn release(&mut self, address: usize, bytes: usize);

    /// Sets the access to a range.
    fn protect(&mut self, address: usize, bytes: usize, access: Access);

    /// Copies from pages that can be read.
    fn load(&self, address: usize, bytes: &mut [u8]);

    /// Fills one page, whatever the access to it is; `access` is what it is afterwards.
    fn fill(&mut self, address: usize, page: &[u8], access: Access);
}

/// Where there is no memory to map anything into.
#[derive(Debug)]
pub(super) struct NoMemory;

impl Memory for NoMemory {
    fn reserve(&mut self, _: usize) -> Option<usize> {
        None
    }

    fn release(&mut self, _: usize, _: usize) {}

    fn protect(&mut self, _: usize, _: usize, _: Access) {}

    fn load(&self, _: usize, _: &mut [u8]) {}

    fn fill(&mut self, _: usize, _: &[u8], _: Access) {}
}
