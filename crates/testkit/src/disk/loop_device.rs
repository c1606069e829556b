//! A loop device that gives itself back.
//!
//! rustix has no types for these ioctls; the structures and numbers are those of linux/loop.h.

use std::ffi::c_void;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use rustix::io::Errno;
use rustix::ioctl::{self, Ioctl, IoctlOutput, Opcode};

const LOOP_CTL_GET_FREE: Opcode = 0x4c82;
const LOOP_CONFIGURE: Opcode = 0x4c0a;
const FLAG_AUTOCLEAR: u32 = 4;
const FLAG_DIRECT_IO: u32 = 16;
/// Other processes attach devices too: one of them may take the free device first.
const ATTEMPTS_MAX: u32 = 20;

/// A loop device in use; free again when this is dropped and nothing on it is mounted.
#[derive(Debug)]
pub(super) struct LoopDevice {
    path: PathBuf,
    /// Open, because the kernel clears the device when no process has it open.
    _device: File,
}

impl LoopDevice {
    /// Attaches `image` to a free loop device, with direct I/O where that works.
    pub(super) fn attach(image: &File) -> anyhow::Result<Self> {
        let control = File::options()
            .read(true)
            .write(true)
            .open("/dev/loop-control");
        let control = control.context("open /dev/loop-control")?;
        for _ in 0..ATTEMPTS_MAX {
            let path = PathBuf::from(format!("/dev/loop{}", free_number(&control)?));
            let device = File::options().read(true).write(true).open(&path);
            let device = device.with_context(|| format!("open {}", path.display()))?;
            match configure_best(&device, image) {
                Ok(()) => {
                    return Ok(Self {
                        path,
                        _device: device,
                    });
                }
                Err(Errno::BUSY) => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("attach to {}", path.display()));
                }
            }
        }
        bail!("no free loop device in {ATTEMPTS_MAX} attempts")
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

fn configure_best(device: &File, image: &File) -> Result<(), Errno> {
    match configure(device, image, FLAG_AUTOCLEAR | FLAG_DIRECT_IO) {
        Err(Errno::INVAL) => configure(device, image, FLAG_AUTOCLEAR),
        other => other,
    }
}

#[expect(unsafe_code, reason = "rustix has no call for loop devices")]
fn free_number(control: &File) -> anyhow::Result<i32> {
    // SAFETY: LOOP_CTL_GET_FREE takes no argument and returns the number.
    let number = unsafe { ioctl::ioctl(control, GetFree) };
    number.context("ask for a free loop device")
}

#[expect(unsafe_code, reason = "rustix has no call for loop devices")]
fn configure(device: &File, image: &File, flags: u32) -> Result<(), Errno> {
    let mut config = LoopConfig::new(image, flags);
    // SAFETY: LOOP_CONFIGURE reads a structure of exactly this layout and keeps no pointer.
    unsafe {
        ioctl::ioctl(
            device,
            ioctl::Updater::<LOOP_CONFIGURE, LoopConfig>::new(&mut config),
        )
    }
}

/// `struct loop_config` with `struct loop_info64` in it.
#[repr(C)]
struct LoopConfig {
    image: u32,
    block_size: u32,
    /// device, inode, rdevice, offset, sizelimit: zero lets the kernel fill them in.
    places: [u64; 5],
    /// number, encrypt_type, encrypt_key_size.
    numbers: [u32; 3],
    flags: u32,
    /// Two names of 64 bytes and a key of 32.
    names: [u8; 160],
    init: [u64; 2],
    reserved: [u64; 8],
}

const _: () = assert!(size_of::<LoopConfig>() == 8 + 232 + 64);

impl LoopConfig {
    fn new(image: &File, flags: u32) -> Self {
        Self {
            image: image.as_raw_fd().unsigned_abs(),
            block_size: 0,
            places: [0; 5],
            numbers: [0; 3],
            flags,
            names: [0; 160],
            init: [0; 2],
            reserved: [0; 8],
        }
    }
}

/// The ioctl whose answer is its return value.
struct GetFree;

#[expect(
    unsafe_code,
    reason = "rustix has no pattern for an ioctl that answers by its result"
)]
// SAFETY: the opcode takes no argument, so the null pointer is never followed.
unsafe impl Ioctl for GetFree {
    type Output = i32;

    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        LOOP_CTL_GET_FREE
    }

    fn as_ptr(&mut self) -> *mut c_void {
        std::ptr::null_mut()
    }

    unsafe fn output_from_ptr(output: IoctlOutput, _: *mut c_void) -> rustix::io::Result<i32> {
        Ok(output)
    }
}
