//! A small ext4 of a test's own, on a loop device, that fills up and loses power; or an XFS, whose files share blocks.
//!
//! The image is preallocated and the loop device uses direct I/O where the disk below allows it,
//! so that measurements on it mean the disk and not the page cache. The loop device gives itself
//! back with its last user: even a killed test leaves no device behind, and inside a private
//! mount namespace no mount either.

mod loop_device;

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};
use rustix::fs::FallocateFlags;
use rustix::ioctl;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::requirements::find_program;
use crate::tempdir::TempDir;
use loop_device::LoopDevice;

const FILLER: &str = ".filler";
const EXT4_IOC_SHUTDOWN: ioctl::Opcode = ioctl::opcode::read::<u32>(b'X', 125);
const FIBMAP: ioctl::Opcode = 1;
const SHUTDOWN_WITHOUT_LOG: u32 = 2;

/// What mkfs.xfs takes as the smallest disk, and some.
const XFS_BYTES: u64 = 320 << 20;

#[derive(Debug, Clone, Copy)]
enum FileSystem {
    Ext4,
    Xfs,
}

/// A mounted file system of its own; unmounted and removed when dropped.
#[derive(Debug)]
pub struct LoopDisk {
    // Dropped in this order after the unmount in `drop`.
    device: Option<LoopDevice>,
    dir: TempDir,
    file_system: FileSystem,
}

impl LoopDisk {
    /// Makes and mounts an ext4 of `bytes` bytes, 8 MiB at least.
    ///
    /// # Errors
    /// Fails without root, loop devices, `mkfs.ext4` or space.
    pub fn new(bytes: u64) -> anyhow::Result<Self> {
        Self::with(FileSystem::Ext4, bytes)
    }

    /// Makes and mounts an XFS of 320 MiB, whose files can share blocks.
    ///
    /// # Errors
    /// Fails without root, loop devices, `mkfs.xfs`, XFS in the kernel, or space.
    pub fn with_reflinks() -> anyhow::Result<Self> {
        Self::with(FileSystem::Xfs, XFS_BYTES)
    }

    fn with(file_system: FileSystem, bytes: u64) -> anyhow::Result<Self> {
        let dir = TempDir::new()?;
        let image = File::create(dir.path().join("image")).context("create the image")?;
        rustix::fs::fallocate(&image, FallocateFlags::empty(), 0, bytes)
            .context("preallocate the image")?;
        fs::create_dir(dir.path().join("mount")).context("create the mount point")?;
        let mut disk = Self {
            device: None,
            dir,
            file_system,
        };
        format(&disk.image(), file_system)?;
        disk.attach()?;
        Ok(disk)
    }

    /// Returns where the disk is mounted.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.dir.path().join("mount")
    }

    /// Returns how many bytes can be written.
    ///
    /// # Errors
    /// Fails where the disk is not mounted.
    pub fn available(&self) -> anyhow::Result<u64> {
        let info = rustix::fs::statvfs(self.path()).context("ask for the free space")?;
        Ok(info.f_bavail * info.f_frsize)
    }

    /// Fills the disk until at most `leave` bytes are free, rounded to blocks. With 0 the
    /// filesystem keeps a block or two that it gives to no file.
    ///
    /// # Errors
    /// Fails where the disk does not take the filling for another reason than being full.
    pub fn fill_up(&self, leave: u64) -> anyhow::Result<()> {
        let mut filler = File::options()
            .append(true)
            .create(true)
            .open(self.path().join(FILLER))
            .context("create the filler")?;
        // Fast first: allocation without writing. It may end early, because extents take blocks.
        let wanted = self.available()?.saturating_sub(leave);
        let end = filler.metadata()?.len();
        if wanted > 0 {
            match rustix::fs::fallocate(&filler, FallocateFlags::empty(), end, wanted) {
                Ok(()) | Err(rustix::io::Errno::NOSPC) => {}
                Err(error) => return Err(error).context("allocate the filler"),
            }
        }
        let block = [0; 4_096];
        while self.available()? > leave {
            match filler.write_all(&block).and_then(|()| filler.sync_data()) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull => break,
                Err(error) => return Err(error).context("write the filler"),
            }
        }
        Ok(())
    }

    /// Gives back the space that [`fill_up`](Self::fill_up) took.
    ///
    /// # Errors
    /// Fails where the disk was not filled.
    pub fn free(&self) -> anyhow::Result<()> {
        fs::remove_file(self.path().join(FILLER)).context("remove the filler")?;
        let root = File::open(self.path()).context("open the root")?;
        rustix::fs::syncfs(&root).context("write the freed space")
    }

    /// Plays power loss: from now on nothing reaches the disk, not even the journal's memory, and
    /// all operations fail. What was fsynced is there after [`remount`](Self::remount).
    ///
    /// # Errors
    /// Fails where the kernel refuses.
    pub fn shutdown_without_log(&self) -> anyhow::Result<()> {
        let root = File::open(self.path()).context("open the root")?;
        #[expect(unsafe_code, reason = "rustix has no call for this ioctl of ext4")]
        // SAFETY: EXT4_IOC_SHUTDOWN reads one u32 of flags and keeps no pointer to it.
        let result = unsafe {
            let mut flags = SHUTDOWN_WITHOUT_LOG;
            ioctl::ioctl(
                &root,
                ioctl::Updater::<EXT4_IOC_SHUTDOWN, u32>::new(&mut flags),
            )
        };
        result.context("shut the filesystem down")
    }

    /// Unmounts, which needs all files closed, and mounts again through a new loop device, so
    /// that nothing comes from a cache.
    ///
    /// # Errors
    /// Fails where files are open or the filesystem cannot be mounted.
    pub fn remount(&mut self) -> anyhow::Result<()> {
        unmount(self.path(), UnmountFlags::empty()).context("unmount; is a file open?")?;
        self.device = None;
        self.attach()
    }

    /// Unmounts, which needs all files closed, and mounts again with a disk that fails with EIO where that one of
    /// `files` lies that lies last, and behind that. What the filesystem keeps for itself lies before all files.
    ///
    /// # Errors
    /// Fails where files are open, or where there is no file that has a place on the disk.
    pub fn remount_with_bad_end(&mut self, files: &[PathBuf]) -> anyhow::Result<()> {
        let places = files.iter().map(|file| place_of(file));
        let places: Vec<u64> = places.collect::<anyhow::Result<_>>()?;
        let bytes = places.into_iter().max().context("no file is named")?;
        unmount(self.path(), UnmountFlags::empty()).context("unmount; is a file open?")?;
        self.device = None;
        let image = File::options().write(true).open(self.image());
        let image = image.context("open the image")?;
        // The device keeps its size: it is attached before the image loses its end.
        self.attach()?;
        image.set_len(bytes).context("cut the image")
    }

    fn image(&self) -> PathBuf {
        self.dir.path().join("image")
    }

    fn attach(&mut self) -> anyhow::Result<()> {
        // O_DIRECT on the image decides whether the loop device may use direct I/O.
        let mut options = File::options();
        options.read(true).write(true);
        let direct = options
            .clone()
            .custom_flags(libc::O_DIRECT)
            .open(self.image());
        let image = match direct {
            Ok(image) => image,
            Err(_) => options.open(self.image()).context("open the image")?,
        };
        let device = LoopDevice::attach(&image)?;
        mount(
            device.path(),
            self.path(),
            self.file_system.name(),
            MountFlags::NOATIME,
            None,
        )
        .with_context(|| format!("mount {}", device.path().display()))?;
        self.device = Some(device);
        Ok(())
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        // Lazily, because a failed test may have left a file open.
        if self.device.is_some()
            && let Err(error) = unmount(self.path(), UnmountFlags::DETACH)
        {
            let path = self.path();
            crate::requirements::say(&format!("cannot unmount {}: {error}", path.display()));
        }
    }
}

/// Returns where on its disk a file begins, in bytes.
fn place_of(file: &Path) -> anyhow::Result<u64> {
    let opened = File::open(file).with_context(|| format!("open {}", file.display()))?;
    let block_len = rustix::fs::fstatvfs(&opened)?.f_bsize;
    #[expect(unsafe_code, reason = "rustix has no call for this ioctl")]
    // SAFETY: FIBMAP reads and writes one int, the number of a block, and keeps no pointer to it.
    let block = unsafe {
        let mut block = 0;
        let asked = ioctl::ioctl(&opened, ioctl::Updater::<FIBMAP, i32>::new(&mut block));
        asked.context("ask where a file lies")?;
        block
    };
    ensure!(block > 0, "{} has no place on its disk", file.display());
    Ok(u64::from(block.unsigned_abs()) * block_len)
}

impl FileSystem {
    const fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
        }
    }

    /// No reserved blocks, so that root meets the same full disk as all users; nothing is discarded, which keeps
    /// the image preallocated.
    const fn mkfs_arguments(self) -> &'static [&'static str] {
        match self {
            Self::Ext4 => &[
                "-q",
                "-F",
                "-m",
                "0",
                "-E",
                "nodiscard,lazy_itable_init=0,lazy_journal_init=0,packed_meta_blocks=1",
            ],
            Self::Xfs => &["-q", "-f", "-K", "-m", "reflink=1"],
        }
    }
}

fn format(image: &Path, file_system: FileSystem) -> anyhow::Result<()> {
    let mkfs = format!("mkfs.{}", file_system.name());
    let program = find_program(&mkfs).with_context(|| format!("no {mkfs} in PATH"))?;
    let output = Command::new(program)
        .args(file_system.mkfs_arguments())
        .arg(image)
        .output()
        .with_context(|| format!("start {mkfs}"))?;
    if !output.status.success() {
        bail!("{mkfs} failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    ensure!(image.is_file(), "{mkfs} left no image");
    Ok(())
}
