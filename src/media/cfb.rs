//! Compound files (OLE2), read with every chain checked ([MS-CFB] sections 2.1 to 2.6).
//!
//! Each sector may belong to one chain only. That one rule ends every loop, cross link and overlap, and bounds
//! the work by the size of the file.

use std::borrow::Cow;
use std::collections::HashSet;

use super::bytes::{CFB_MAGIC, array, index, u16_le, u32_le};
use super::findings::{Walk, bomb, malformed, truncated};
use crate::limits::StructureLimits;

const FREE: u32 = 0xFFFF_FFFF;
const END_OF_CHAIN: u32 = 0xFFFF_FFFE;
/// The largest number that still names a sector.
const MAX_SECTOR: u32 = 0xFFFF_FFFA;
const NO_ENTRY: u32 = 0xFFFF_FFFF;
const MINI_SECTOR: usize = 64;
const ENTRY: usize = 128;

/// What a directory entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Root,
    Storage,
    Stream,
}

/// One used entry of the directory.
#[derive(Debug, Clone)]
pub(super) struct DirectoryEntry {
    pub name: String,
    pub kind: Kind,
    /// The entry that holds this one; `None` for the root and for entries that the tree does not reach.
    pub parent: Option<usize>,
    start: u32,
    size: u64,
    links: [u32; 3],
}

/// An opened compound file.
#[derive(Debug)]
pub(super) struct CompoundFile<'a> {
    bytes: &'a [u8],
    sector_size: usize,
    fat: Vec<u32>,
    mini_fat: Vec<u32>,
    mini_stream: Vec<u32>,
    mini_cutoff: u64,
    /// By index; unused entries are `None`.
    pub entries: Vec<Option<DirectoryEntry>>,
    owned: Owned,
}

/// Which sectors a chain already has.
#[derive(Debug)]
struct Owned(Vec<bool>);

impl Owned {
    fn claim(&mut self, sector: usize) -> bool {
        self.0.get_mut(sector).is_some_and(|taken| !std::mem::replace(taken, true))
    }
}

impl<'a> CompoundFile<'a> {
    /// Opens the file: header, allocation tables and directory. The chains of the streams are checked
    /// separately ([`Self::check_streams`]), so that names in the directory of a broken file still count.
    pub fn open(bytes: &'a [u8], limits: &StructureLimits) -> Walk<Self> {
        let sector_size = header(bytes)?;
        let sectors = bytes.len().saturating_sub(sector_size).div_ceil(sector_size);
        let mut owned = Owned(vec![false; sectors]);
        let mut file = Self {
            bytes,
            sector_size,
            fat: Vec::new(),
            mini_fat: Vec::new(),
            mini_stream: Vec::new(),
            mini_cutoff: u64::from(u32_le(bytes, 56).unwrap_or_default()),
            entries: Vec::new(),
            owned: Owned(Vec::new()),
        };
        file.read_fat(sectors, &mut owned)?;
        let directory = file.chain(u32_le(bytes, 48).unwrap_or(END_OF_CHAIN), &mut owned, "the directory")?;
        file.read_directory(&directory, limits)?;
        let mini_fat = file.chain(u32_le(bytes, 60).unwrap_or(END_OF_CHAIN), &mut owned, "the mini table")?;
        file.mini_fat = mini_fat.iter().flat_map(|sector| file.sector_numbers(*sector)).collect();
        file.build_tree()?;
        file.owned = owned;
        Ok(file)
    }

    fn sector(&self, number: u32) -> &'a [u8] {
        let start = index(number).saturating_add(1).saturating_mul(self.sector_size);
        let end = start.saturating_add(self.sector_size).min(self.bytes.len());
        self.bytes.get(start..end).unwrap_or_default()
    }

    fn sector_numbers(&self, number: u32) -> impl Iterator<Item = u32> + use<'a> {
        self.sector(number).as_chunks::<4>().0.iter().map(|bytes| u32::from_le_bytes(*bytes))
    }

    /// The allocation table: its first 109 sectors are listed in the header, the rest in a chain of its own.
    fn read_fat(&mut self, sectors: usize, owned: &mut Owned) -> Walk<()> {
        let announced = u32_le(self.bytes, 44).map_or(0, index);
        if announced > sectors {
            return Err(malformed(format!("the header claims {announced} table sectors, the file has {sectors}")));
        }
        let mut listed: Vec<u32> = (0..109).filter_map(|n| u32_le(self.bytes, 76 + 4 * n)).collect();
        let mut next = u32_le(self.bytes, 68).unwrap_or(END_OF_CHAIN);
        while next <= MAX_SECTOR {
            if !owned.claim(index(next)) {
                return Err(malformed("the list of table sectors loops or leaves the file"));
            }
            let mut numbers: Vec<u32> = self.sector_numbers(next).collect();
            next = numbers.pop().unwrap_or(END_OF_CHAIN);
            listed.extend(numbers);
        }
        let listed = listed.into_iter().filter(|number| *number <= MAX_SECTOR).take(announced);
        for number in listed {
            if index(number) >= sectors {
                return Err(outside("a table sector"));
            }
            if !owned.claim(index(number)) {
                return Err(malformed("two table sectors are one"));
            }
            let numbers = self.sector_numbers(number);
            self.fat.extend(numbers);
        }
        Ok(())
    }

    /// The sectors of the chain that begins at `start`, each claimed for it.
    fn chain(&self, start: u32, owned: &mut Owned, what: &str) -> Walk<Vec<u32>> {
        let mut chain = Vec::new();
        let mut next = start;
        while next <= MAX_SECTOR {
            if index(next) >= owned.0.len() {
                return Err(outside(what));
            }
            if !owned.claim(index(next)) {
                return Err(malformed(format!("the sectors of {what} loop or belong to something else")));
            }
            chain.push(next);
            next = *self.fat.get(index(next)).ok_or_else(|| outside(what))?;
        }
        if next == END_OF_CHAIN || chain.is_empty() && next == FREE {
            Ok(chain)
        } else {
            Err(malformed(format!("the sectors of {what} end in a free one")))
        }
    }

    fn read_directory(&mut self, sectors: &[u32], limits: &StructureLimits) -> Walk<()> {
        let large = self.sector_size > 512;
        for sector in sectors {
            for raw in self.sector(*sector).as_chunks::<ENTRY>().0 {
                if self.entries.len() >= index(limits.directory_entries) {
                    return Err(bomb(format!("more than {} directory entries", limits.directory_entries)));
                }
                self.entries.push(directory_entry(raw, large)?);
            }
        }
        match self.entries.first() {
            Some(Some(root)) if root.kind == Kind::Root => Ok(()),
            _ => Err(malformed("the directory has no root")),
        }
    }

    /// Follows siblings and children once each and notes every entry's parent.
    fn build_tree(&mut self) -> Walk<()> {
        let mut seen = vec![false; self.entries.len()];
        let root_child = self.entries.first().and_then(Option::as_ref).map_or(NO_ENTRY, |root| root.links[2]);
        let mut stack = vec![(root_child, 0usize)];
        while let Some((number, parent)) = stack.pop() {
            if number == NO_ENTRY {
                continue;
            }
            let at = index(number);
            let fresh = seen.get_mut(at).is_some_and(|seen| !std::mem::replace(seen, true));
            let Some(Some(entry)) = self.entries.get_mut(at).filter(|_| fresh && at != 0) else {
                return Err(malformed("the directory tree loops or leaves the directory"));
            };
            if entry.kind == Kind::Root {
                return Err(malformed("the directory has a second root"));
            }
            entry.parent = Some(parent);
            let [left, right, child] = entry.links;
            stack.extend([(left, parent), (right, parent)]);
            if entry.kind == Kind::Storage {
                stack.push((child, at));
            }
        }
        // Which of two entries with one name is opened depends on the reader.
        let mut names = HashSet::new();
        for entry in self.entries.iter().flatten().filter(|entry| entry.parent.is_some()) {
            if !names.insert((entry.parent, entry.name.to_uppercase())) {
                return Err(malformed(format!("two entries of the directory are called {}", entry.name)));
            }
        }
        Ok(())
    }

    /// Checks that every stream has the sectors that its size needs, and no others' sectors.
    pub fn check_streams(&mut self) -> Walk<()> {
        let mut owned = Owned(std::mem::take(&mut self.owned.0));
        let owned = &mut owned;
        let Some(Some(root)) = self.entries.first() else { return Err(malformed("the directory has no root")) };
        let (start, size) = (root.start, root.size);
        if size > 0 {
            self.mini_stream = self.chain(start, owned, "the mini stream")?;
            self.covers(self.mini_stream.len() * self.sector_size, size, "the mini stream")?;
        }
        let mini_sectors = self.mini_stream.len() * (self.sector_size / MINI_SECTOR);
        let mut mini_owned = Owned(vec![false; mini_sectors]);
        for entry in self.entries.iter().flatten().filter(|e| e.kind == Kind::Stream && e.size > 0) {
            let name = format!("stream {}", entry.name);
            let length = if entry.size < self.mini_cutoff {
                self.mini_chain(entry.start, |sector| mini_owned.claim(sector), &name)?.len() * MINI_SECTOR
            } else {
                self.chain(entry.start, owned, &name)?.len() * self.sector_size
            };
            self.covers(length, entry.size, &name)?;
        }
        self.owned.0 = std::mem::take(&mut owned.0);
        Ok(())
    }

    fn covers(&self, length: usize, size: u64, what: &str) -> Walk<()> {
        if size <= length as u64 {
            return Ok(());
        }
        Err(if size > self.bytes.len() as u64 {
            truncated(format!("{what} claims {size} bytes, more than the file has"))
        } else {
            malformed(format!("{what} claims {size} bytes and has {length}"))
        })
    }

    fn mini_chain(&self, start: u32, mut claim: impl FnMut(usize) -> bool, what: &str) -> Walk<Vec<u32>> {
        let mut chain = Vec::new();
        let mut next = start;
        while next <= MAX_SECTOR {
            if !claim(index(next)) {
                return Err(malformed(format!("the mini sectors of {what} loop or leave the file")));
            }
            chain.push(next);
            next = *self.mini_fat.get(index(next)).ok_or_else(|| outside(what))?;
        }
        Ok(chain)
    }

    /// The content of a stream: a slice of the file where its sectors follow each other, else put together from
    /// them. Never longer than the file.
    pub fn content(&self, entry: &DirectoryEntry) -> Walk<Cow<'a, [u8]>> {
        let name = format!("stream {}", entry.name);
        let size = usize::try_from(entry.size).unwrap_or(usize::MAX);
        let mut content = Vec::new();
        if entry.size < self.mini_cutoff && entry.kind == Kind::Stream {
            let mut budget = self.mini_fat.len();
            let claim = |_| {
                let left = budget > 0;
                budget = budget.saturating_sub(1);
                left
            };
            for mini in self.mini_chain(entry.start, claim, &name)? {
                content.extend_from_slice(self.mini_sector(mini));
            }
        } else {
            let mut unclaimed = Owned(vec![false; self.fat.len().max(1)]);
            let chain = self.chain(entry.start, &mut unclaimed, &name)?;
            if chain.windows(2).all(|pair| matches!(pair, [one, next] if one + 1 == *next)) {
                let start = chain.first().map_or(0, |first| (index(*first) + 1).saturating_mul(self.sector_size));
                let end = start.saturating_add(size.min(chain.len() * self.sector_size)).min(self.bytes.len());
                return Ok(Cow::Borrowed(self.bytes.get(start..end).unwrap_or_default()));
            }
            for number in chain {
                content.extend_from_slice(self.sector(number));
            }
        }
        content.truncate(size);
        Ok(Cow::Owned(content))
    }

    /// The stream of that name directly below the root; names compare without regard to case.
    pub fn root_stream(&self, name: &str) -> Option<&DirectoryEntry> {
        let mut streams = self.entries.iter().flatten().filter(|e| e.kind == Kind::Stream && e.parent == Some(0));
        streams.find(|entry| entry.name.eq_ignore_ascii_case(name))
    }

    /// The first bytes of a stream, as many as its first sector holds.
    pub fn head(&self, entry: &DirectoryEntry) -> &'a [u8] {
        let head = if entry.size < self.mini_cutoff {
            self.mini_sector(entry.start)
        } else if entry.start <= MAX_SECTOR {
            self.sector(entry.start)
        } else {
            &[]
        };
        head.get(..head.len().min(usize::try_from(entry.size).unwrap_or(usize::MAX))).unwrap_or_default()
    }

    fn mini_sector(&self, mini: u32) -> &'a [u8] {
        let per_sector = self.sector_size / MINI_SECTOR;
        let (sector, part) = (index(mini) / per_sector, index(mini) % per_sector);
        let sector = self.mini_stream.get(sector).map_or(&[][..], |number| self.sector(*number));
        let from = part * MINI_SECTOR;
        sector.get(from..(from + MINI_SECTOR).min(sector.len())).unwrap_or_default()
    }

    /// The bytes behind the last sector that belongs to anything, without the blank sectors that the table lists
    /// behind it: writers leave them. A table may call a sector used to which no chain leads; it decides only where the
    /// chains are broken.
    pub fn tail(&self) -> &'a [u8] {
        let owned = self.owned.0.iter().rposition(|taken| *taken);
        let used = owned.or_else(|| self.fat.iter().rposition(|next| *next != FREE)).map_or(0, |last| last + 1);
        let after = |sectors: usize| {
            let start = sectors.saturating_add(1).saturating_mul(self.sector_size).min(self.bytes.len());
            self.bytes.split_at(start)
        };
        let (upto, rest) = after(self.fat.len());
        let blank = upto.get((used + 1).saturating_mul(self.sector_size)..).unwrap_or_default();
        if blank.iter().all(|b| *b == 0) { rest } else { after(used).1 }
    }
}

fn outside(what: &str) -> super::findings::Broken {
    truncated(format!("{what} reaches past the end of the file"))
}

/// Checks the header and gives the sector size.
fn header(bytes: &[u8]) -> Walk<usize> {
    if !bytes.starts_with(CFB_MAGIC) {
        return Err(malformed("no compound file"));
    }
    if bytes.len() < 1024 {
        return Err(truncated("the file ends behind its header"));
    }
    let field = |at| u16_le(bytes, at).unwrap_or_default();
    let sector_size = match (field(26), field(30)) {
        (3, 9) => 512,
        (4, 12) => 4096,
        (version, shift) => return Err(malformed(format!("version {version} with sector shift {shift}"))),
    };
    if field(28) != 0xFFFE || field(32) != 6 {
        return Err(malformed("wrong byte order mark or mini sector size"));
    }
    if u32_le(bytes, 56) != Some(4096) {
        return Err(malformed("wrong size limit of mini streams"));
    }
    Ok(sector_size)
}

fn directory_entry(raw: &[u8; ENTRY], large: bool) -> Walk<Option<DirectoryEntry>> {
    let kind = match raw[66] {
        0 => return Ok(None),
        1 => Kind::Storage,
        2 => Kind::Stream,
        5 => Kind::Root,
        other => return Err(malformed(format!("directory entry of the unknown kind {other}"))),
    };
    let length = usize::from(u16_le(raw, 64).unwrap_or_default());
    if length > 64 {
        return Err(malformed("directory entry with a name longer than 31 characters"));
    }
    let units = raw.as_chunks::<2>().0.iter().take(length / 2).map(|pair| u16::from_le_bytes(*pair));
    let units: Vec<u16> = units.take_while(|unit| *unit != 0).collect();
    let size = array(raw, 120).map_or(0, u64::from_le_bytes);
    let link = |at| u32_le(raw, at).unwrap_or(NO_ENTRY);
    Ok(Some(DirectoryEntry {
        name: String::from_utf16_lossy(&units),
        kind,
        parent: None,
        start: link(116),
        // Small-sector files define the low half only; some writers leave rubbish in the other.
        size: if large { size } else { size & 0xFFFF_FFFF },
        links: [link(68), link(72), link(76)],
    }))
}
