//! A version as the files of an EROFS image, for a kernel that serves the version by itself.
//!
//! Nothing is stored: a directory is rendered from its listing when the kernel asks for a block of it
//! (`lfsfs-erofs`), and a content is read where its bytes are asked for. What was given away, blocks and addresses
//! of contents, is kept as long as the image lives.

use std::fmt::Debug;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use bytes::{Bytes, BytesMut};
use lfsfs_erofs::address::{self, Address, DEVICES, FILE_LEN, Owner};
use lfsfs_erofs::{
    BLOCK_LEN, Directory, DirectoryImage, HardLink, Layout, Places as DirectoryPlaces, RenderError,
    Volume, superblock,
};
use lfsfs_reader::{Wanted, Weight, WeightedCache};
use lfsfs_types::{DirId, LinkId, Name, Record, Xattr, XattrValue};

use self::ahead::Walk;
use self::pages::ContentPages;
use self::places::{BlockOwner, Forgotten, Places};
use crate::base::BaseVersion;
use crate::error::VfsError;
use crate::inode::Place;
use crate::listing::Listing;
use crate::stretch::Listed;

mod ahead;
mod content;
mod pages;
mod places;

/// How many content devices there are.
pub const IMAGE_DEVICES: u16 = DEVICES;
/// How long the metadata file is, and each content device.
pub const IMAGE_FILE_LEN: u64 = FILE_LEN;
/// Bytes of rendered directories that are kept in memory.
const RENDERED_LEN_MAX: usize = 16 << 20;

/// How the objects of an image are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ImageView {
    /// The owner of all objects, instead of their own.
    pub uid: Option<u32>,
    /// The group of all objects, instead of their own.
    pub gid: Option<u32>,
    /// No object has extended attributes.
    pub without_xattrs: bool,
}

/// A file of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ImageFile {
    /// The metadata file.
    Metadata,
    /// A content device.
    Content(u16),
}

/// The kernel, which keeps pages of the files.
///
/// Calls may block: the kernel waits for requests of these pages that are under way.
pub trait ImageKernel: Send + Sync + Debug + 'static {
    /// Drops pages.
    fn drop_pages(&self, file: ImageFile, range: Range<u64>);

    /// Takes whole pages that it has not asked for.
    fn store_pages(&self, file: ImageFile, offset: u64, bytes: &[u8]);
}

/// A version as an image.
///
/// The kernel reads ahead, also where nothing was given away yet, and has zeros there then. So before it learns of a
/// place that was given away after such a read, it drops what it has of it.
///
/// Methods may be called from any number of tasks, inside a tokio runtime with time enabled.
#[derive(Debug)]
pub struct VersionImage {
    version: Arc<BaseVersion>,
    view: ImageView,
    superblock: Vec<u8>,
    places: Mutex<Places>,
    /// Held while a directory is given its places, until the kernel has dropped what it had of them. Reads of blocks and
    /// contents never wait for it, because the kernel may wait for them.
    giving: tokio::sync::Mutex<()>,
    rendered: WeightedCache<DirId, Arc<Rendered>>,
    kernel: OnceLock<Arc<dyn ImageKernel>>,
    walk: Walk,
    pages: ContentPages,
}

#[derive(Debug)]
struct Rendered(DirectoryImage);

/// A directory with what stands in it, as the image shows them, and how it lies.
struct Shown {
    dir: DirId,
    layout: Layout,
    record: Record,
    parent: DirId,
    entries: Vec<(Name, Record)>,
}

impl VersionImage {
    /// Returns the image of a version. Nothing is read yet.
    #[must_use]
    pub fn new(version: Arc<BaseVersion>, view: ImageView) -> Self {
        let snapshot = version.snapshot();
        let volume = Volume {
            version: snapshot.version.id,
            objects: snapshot.version.counts.objects.saturating_add(1),
            bytes: snapshot.version.counts.bytes,
        };
        Self {
            superblock: superblock(&volume),
            version,
            view,
            places: Mutex::new(Places::new()),
            giving: tokio::sync::Mutex::default(),
            kernel: OnceLock::new(),
            walk: Walk::default(),
            pages: ContentPages::default(),
            rendered: WeightedCache::new(RENDERED_LEN_MAX),
        }
    }

    /// Takes the way to the kernel, before that reads anything.
    pub fn connect(&self, kernel: Arc<dyn ImageKernel>) {
        // There is one session, and so one kernel.
        let _ = self.kernel.set(kernel);
    }

    /// Gives pages back that the kernel does not need any more, from now on.
    pub fn start_giving_back(self: &Arc<Self>) {
        let give_back = Self::keep_giving_back(Arc::downgrade(self));
        // The mount tracks the task.
        drop(self.version.spawner().spawn(give_back));
    }

    /// Returns bytes of the metadata file. What belongs to no object is zeros.
    pub async fn read_metadata(self: &Arc<Self>, offset: u64, len: u32) -> Result<Bytes, VfsError> {
        let bytes = self.read_metadata_file(offset, len).await?;
        if let Owner::Region(dir) = Address::of(offset).owner {
            self.note_asked(dir);
        }
        Ok(bytes)
    }

    async fn read_metadata_file(&self, offset: u64, len: u32) -> Result<Bytes, VfsError> {
        let mut bytes = BytesMut::zeroed(len as usize);
        let mut filled = 0;
        while filled < bytes.len() {
            let address = Address::of(offset + filled as u64);
            let left = bytes.len() - filled;
            let part = usize::try_from(address.len).unwrap_or(left).min(left);
            self.fill(address, &mut bytes[filled..filled + part])
                .await?;
            filled += part;
        }
        Ok(bytes.freeze())
    }

    async fn fill(&self, address: Address, bytes: &mut [u8]) -> Result<(), VfsError> {
        let within = address.within;
        match address.owner {
            Owner::Superblock => copy(&self.superblock, within, bytes),
            Owner::Region(dir) => copy(&self.directory(dir).await?.0.region, within, bytes),
            Owner::LargeTable(table) => {
                let dir = self.places().owner_of_table(table).ok_or(VfsError::Stale)?;
                copy(&self.directory(dir).await?.0.large_table, within, bytes);
            }
            Owner::Link(link) => copy(&self.hard_link(link).await?, within, bytes),
            Owner::Block(block) => {
                let owner = {
                    let mut places = self.places();
                    places.note_blocks_read(block + 1);
                    places.owner_of_block(block)
                };
                let Some((owner, first)) = owner else {
                    return Ok(());
                };
                let within = within + u64::from(block - first) * BLOCK_LEN as u64;
                match owner {
                    BlockOwner::Directory(dir) => {
                        copy(&self.rendered(dir).await?.0.blocks, within, bytes);
                    }
                    BlockOwner::Link(link) => copy(&self.hard_link(link).await?, within, bytes),
                }
            }
            Owner::Gap => {}
        }
        Ok(())
    }

    /// Returns a directory, to be shown to the kernel with the places that it has.
    async fn directory(&self, dir: DirId) -> Result<Arc<Rendered>, VfsError> {
        if let Some(rendered) = self.rendered.find(&dir) {
            return Ok(rendered);
        }
        let _giving = self.giving.lock().await;
        if let Some(rendered) = self.rendered.find(&dir) {
            return Ok(rendered);
        }
        let shown = self.shown(dir).await?;
        let is_given = self.places().given(dir).is_some();
        if !is_given {
            let forgotten = self.places().give(&shown.directory(), &shown.layout)?;
            self.forget(forgotten).await;
        }
        let rendered = self.render(&shown)?;
        self.rendered.insert(dir, Arc::clone(&rendered));
        Ok(rendered)
    }

    /// Has the kernel drop what it has of places that were given away.
    async fn forget(&self, forgotten: Forgotten) {
        let mut drops = Vec::new();
        let Forgotten {
            blocks,
            content,
            links,
        } = forgotten;
        let block_at = |start| (ImageFile::Metadata, start..start + BLOCK_LEN as u64);
        drops.extend(links.into_iter().map(block_at));
        if !blocks.is_empty() {
            let range = address::block(blocks.start)..address::block(blocks.end);
            drops.push((ImageFile::Metadata, range));
        }
        if !content.is_empty() {
            drops.extend(content::ranges(content));
        }
        self.drop_pages(drops).await;
    }

    async fn drop_pages(&self, drops: Vec<(ImageFile, Range<u64>)>) {
        if drops.is_empty() {
            return;
        }
        let drop_all = move |kernel: &dyn ImageKernel| {
            for (file, range) in drops {
                kernel.drop_pages(file, range);
            }
        };
        self.tell_kernel(drop_all).await;
    }

    /// Tells the kernel something, in a thread that may wait for it.
    async fn tell_kernel(&self, tell: impl FnOnce(&dyn ImageKernel) + Send + 'static) {
        let Some(kernel) = self.kernel.get().cloned() else {
            return;
        };
        let tell = move || tell(&*kernel);
        // It ends early only with the mount.
        let _ = self.version.spawner().spawn_blocking(tell).await;
    }

    /// Renders a directory that has its places, unless that was done lately.
    async fn rendered(&self, dir: DirId) -> Result<Arc<Rendered>, VfsError> {
        match self.rendered.find(&dir) {
            Some(rendered) => Ok(rendered),
            None => self.render(&self.shown(dir).await?),
        }
    }

    fn render(&self, shown: &Shown) -> Result<Arc<Rendered>, VfsError> {
        let (given, contents, long_links) = {
            let places = self.places();
            let given = places.given(shown.dir).ok_or(VfsError::Stale)?;
            let contents = places.contents_of(&given, &shown.entries);
            (given, contents, places.long_links_of(&shown.entries))
        };
        let places = DirectoryPlaces {
            first_block: given.first_block,
            large_table: given.large_table,
            contents: &contents,
            long_links: &long_links,
        };
        let image = shown.layout.render(&shown.directory(), &places);
        Ok(Arc::new(Rendered(image.map_err(too_large)?)))
    }

    /// Returns a directory as it is shown.
    async fn shown(&self, dir: DirId) -> Result<Shown, VfsError> {
        let (record, parent) = self.own_record(dir).await?;
        let listing = self.version.listing(dir).await?;
        let mut entries = Vec::with_capacity(listing.len() as usize);
        for index in 0..listing.len() {
            let record = self.shown_entry(&listing, Place { dir, index }).await?;
            entries.push((listing.entry_name(index)?, record));
        }
        let directory = Directory {
            dir,
            parent,
            record: &record,
            entries: &entries,
        };
        Ok(Shown {
            layout: Layout::of(&directory).map_err(too_large)?,
            dir,
            record,
            parent,
            entries,
        })
    }

    /// Returns the record of a directory, which stands in the directory above, and that.
    async fn own_record(&self, dir: DirId) -> Result<(Record, DirId), VfsError> {
        if dir == DirId::ROOT {
            let root = self.version.snapshot().root.clone();
            return Ok((self.shown_record(root, None).await?, DirId::ROOT));
        }
        let known = self.places().above(dir);
        let above = match known {
            Some(above) => above,
            None => self.find_above(dir).await?,
        };
        let listing = self.version.listing(above.dir).await?;
        Ok((self.shown_entry(&listing, above).await?, above.dir))
    }

    /// Asks the server where a directory is that the kernel knows and this image does not: a file handle of
    /// it was kept.
    async fn find_above(&self, dir: DirId) -> Result<Place, VfsError> {
        let places = self.version.directory_places(&[dir]).await?;
        let (above, name) = places.get(&dir).ok_or(VfsError::Stale)?;
        let listing = self.version.listing(*above).await?;
        let index = listing.find(name.as_bytes()).ok_or(VfsError::Stale)?;
        Ok(Place { dir: *above, index })
    }

    /// Returns the bytes of the inode of a hard link.
    async fn hard_link(&self, link: LinkId) -> Result<Vec<u8>, VfsError> {
        let found = self.places().link_to_read(link)?;
        // One without a place yet lies in a block with others.
        let Some(given) = found else {
            return Ok(Vec::new());
        };
        let listing = self.version.listing(given.entry.dir).await?;
        let record = self.shown_entry(&listing, given.entry).await?;
        let inode = HardLink::of(&record).map_err(too_large)?;
        Ok(inode.render(given.content, given.first_block))
    }

    /// Returns the record of an entry as it is shown.
    async fn shown_entry(&self, listing: &Arc<Listing>, place: Place) -> Result<Record, VfsError> {
        let record = listing.entry_record(place.index)?;
        let listed = Listed {
            place,
            listing: Arc::clone(listing),
        };
        self.shown_record(record, Some(&listed)).await
    }

    /// Returns a record as it is shown, with the values of attributes that are contents.
    async fn shown_record(
        &self,
        mut record: Record,
        listed: Option<&Listed>,
    ) -> Result<Record, VfsError> {
        record.uid = self.view.uid.unwrap_or(record.uid);
        record.gid = self.view.gid.unwrap_or(record.gid);
        if self.view.without_xattrs {
            record.xattrs.clear();
        }
        for Xattr { value, .. } in &mut record.xattrs {
            if let XattrValue::Content { content, len } = *value {
                let wanted = Wanted::new(content, u64::from(len), 0..u64::from(len));
                let bytes = self.version.read_content(wanted, listed).await?;
                *value = XattrValue::Inline(bytes[..].into());
            }
        }
        Ok(record)
    }

    /// No method panics between two changes of it.
    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().expect("no holder of this lock panics")
    }
}

impl Shown {
    fn directory(&self) -> Directory<'_> {
        Directory {
            dir: self.dir,
            parent: self.parent,
            record: &self.record,
            entries: &self.entries,
        }
    }
}

impl Weight for Rendered {
    fn weight(&self) -> usize {
        let DirectoryImage {
            region,
            large_table,
            blocks,
        } = &self.0;
        region.len() + large_table.len() + blocks.len() + 128
    }
}

/// Copies what `from` has behind an offset; the rest stays zeros.
fn copy(from: &[u8], offset: u64, to: &mut [u8]) {
    let start = usize::try_from(offset)
        .unwrap_or(usize::MAX)
        .min(from.len());
    let len = to.len().min(from.len() - start);
    to[..len].copy_from_slice(&from[start..start + len]);
}

fn too_large(error: RenderError) -> VfsError {
    tracing::warn!(%error, "an object cannot be shown in kernel mode; fuse mode shows it");
    VfsError::Unsupported {
        what: "an object that is too large for an image",
    }
}
