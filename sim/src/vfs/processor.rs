//! A processor with memory, for tests of mappings: it loads, stores and faults as a real one does.

use super::mapping::PAGE;
use super::{Access, Fault, Memory, Vfs};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

#[derive(Debug, Default)]
struct Pages {
    next: usize,
    pages: BTreeMap<usize, (Vec<u8>, Access)>,
}

/// The memory, and whoever executes on it.
#[derive(Clone, Debug, Default)]
pub(super) struct Processor(Arc<Mutex<Pages>>);

impl Memory for Processor {
    fn reserve(&mut self, bytes: usize) -> Option<usize> {
        let mut memory = self.0.lock().unwrap();
        memory.next += bytes + PAGE;
        Some(memory.next - bytes)
    }

    fn release(&mut self, address: usize, bytes: usize) {
        self.0.lock().unwrap().pages.retain(|page, _| !(address..address + bytes).contains(page));
    }

    fn protect(&mut self, address: usize, bytes: usize, access: Access) {
        for (_, page) in self.0.lock().unwrap().pages.range_mut(address..address + bytes) {
            page.1 = access;
        }
    }

    fn load(&self, address: usize, bytes: &mut [u8]) {
        let memory = self.0.lock().unwrap();
        let (page, access) = &memory.pages[&address];
        assert_ne!(*access, Access::None, "the machine would fault");
        bytes.copy_from_slice(page);
    }

    fn fill(&mut self, address: usize, page: &[u8], access: Access) {
        self.0.lock().unwrap().pages.insert(address, (page.to_vec(), access));
    }
}

impl Processor {
    /// Does `work` on the page at `address` once the access allows it.
    fn on_page(
        &self,
        vfs: &mut Vfs,
        address: usize,
        needs: fn(Access) -> bool,
        work: impl FnOnce(&mut [u8]),
    ) -> Result<(), Fault> {
        let page = address - address % PAGE;
        while !self.0.lock().unwrap().pages.get(&page).is_some_and(|(_, access)| needs(*access)) {
            match vfs.page_fault(address) {
                Fault::Resolved => {}
                fault => return Err(fault),
            }
        }
        let mut memory = self.0.lock().unwrap();
        let (bytes, _) = memory.pages.get_mut(&page).expect("it was just found");
        work(&mut bytes[address - page..]);
        Ok(())
    }

    /// Loads bytes.
    pub(super) fn load_bytes(&self, vfs: &mut Vfs, address: usize, length: usize) -> Result<Vec<u8>, Fault> {
        let mut loaded = Vec::with_capacity(length);
        while loaded.len() < length {
            let left = length - loaded.len();
            let readable = |access| matches!(access, Access::Read | Access::ReadWrite);
            self.on_page(vfs, address + loaded.len(), readable, |bytes| {
                loaded.extend_from_slice(&bytes[..bytes.len().min(left)]);
            })?;
        }
        Ok(loaded)
    }

    /// Stores bytes.
    pub(super) fn store_bytes(&self, vfs: &mut Vfs, address: usize, bytes: &[u8]) -> Result<(), Fault> {
        let mut done = 0;
        while done < bytes.len() {
            let writable = |access| matches!(access, Access::ReadWrite);
            self.on_page(vfs, address + done, writable, |page| {
                let count = page.len().min(bytes.len() - done);
                page[..count].copy_from_slice(&bytes[done..done + count]);
                done += count;
            })?;
        }
        Ok(())
    }
}
