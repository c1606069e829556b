//! Shared mappings of files.

use std::fs::File;
use std::os::fd::AsRawFd as _;

use rustix::io::Errno;

const PAGE_LEN: u64 = 4_096;
const WRITABLE: i32 = libc::PROT_READ | libc::PROT_WRITE;

/// Writes through a shared mapping and syncs it. A range that is not in the file gives ENXIO, since
/// the kernel kills a program that touches such a mapping.
pub(crate) fn write(file: &File, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
    let file_len = file.metadata().map_err(|_| Errno::IO)?.len();
    if offset + bytes.len() as u64 > file_len || bytes.is_empty() {
        return Err(Errno::NXIO);
    }
    let start = offset / PAGE_LEN * PAGE_LEN;
    let skip = usize::try_from(offset - start).expect("less than a page");
    let mut mapping = Mapping::of(file, start, skip + bytes.len(), WRITABLE)?;
    mapping.bytes()[skip..].copy_from_slice(bytes);
    mapping.sync()
}

/// A shared mapping of a part of a file.
struct Mapping {
    address: *mut libc::c_void,
    len: usize,
}

impl Mapping {
    fn of(file: &File, start: u64, len: usize, protection: i32) -> Result<Self, Errno> {
        let start = i64::try_from(start).expect("a small number");
        #[expect(unsafe_code, reason = "only mmap maps")]
        // SAFETY: a new mapping at an address that the kernel chooses, of an open file.
        let address = unsafe {
            let fd = file.as_raw_fd();
            libc::mmap64(
                std::ptr::null_mut(),
                len,
                protection,
                libc::MAP_SHARED,
                fd,
                start,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(last_error());
        }
        Ok(Self { address, len })
    }

    fn bytes(&mut self) -> &mut [u8] {
        #[expect(
            unsafe_code,
            reason = "the memory of a mapping is known by its address only"
        )]
        // SAFETY: the mapping has `len` bytes and lives as long as `self`; the file is long enough
        // and no other thread changes it meanwhile.
        unsafe {
            std::slice::from_raw_parts_mut(self.address.cast(), self.len)
        }
    }

    fn sync(&self) -> Result<(), Errno> {
        #[expect(unsafe_code, reason = "only msync syncs")]
        // SAFETY: address and length are those of the mapping.
        let result = unsafe { libc::msync(self.address, self.len, libc::MS_SYNC) };
        if result == 0 {
            Ok(())
        } else {
            Err(last_error())
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        #[expect(unsafe_code, reason = "only munmap unmaps")]
        // SAFETY: nothing refers to the mapping any more.
        let _ = unsafe { libc::munmap(self.address, self.len) };
    }
}

fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// Returns how many pages of a file the kernel has in memory.
pub(crate) fn resident_pages(file: &File) -> u64 {
    let len = usize::try_from(file.metadata().expect("attributes").len()).expect("a small file");
    let mapping = Mapping::of(file, 0, len, libc::PROT_READ).expect("a mapping");
    let mut pages = vec![0; len.div_ceil(4_096)];
    #[expect(unsafe_code, reason = "only mincore tells")]
    // SAFETY: there is a byte for each page of the mapping.
    let result = unsafe { libc::mincore(mapping.address, mapping.len, pages.as_mut_ptr()) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    pages.iter().filter(|page| **page & 1 == 1).count() as u64
}
