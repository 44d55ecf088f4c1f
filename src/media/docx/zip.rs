//! ZIP, read so strictly that every reader sees the same entries (the tiling rule).
//!
//! Readers disagree about archives: some trust the central directory, some the local headers, some the first of
//! two equal names. An archive is accepted only if there is nothing to disagree about: the central entries cover
//! the file from its first byte to the directory, without gap or overlap, and both headers say the same.

use std::collections::HashSet;

use crate::limits::StructureLimits;
use crate::media::bytes::{find, foreign_container, index, rfind, u16_le, u32_le};
use crate::media::findings::{Broken, Findings, Walk, bomb, malformed, truncated};
use crate::media::inflate::{End, Inflated, inflate};
use crate::verdict::ReasonCode;

const LOCAL: &[u8] = b"PK\x03\x04";
const CENTRAL: &[u8] = b"PK\x01\x02";
const END: &[u8] = b"PK\x05\x06";
const END_LENGTH: usize = 22;
const DESCRIPTOR: &[u8] = b"PK\x07\x08";
/// Encryption, strong encryption, and headers hidden by it.
const ENCRYPTED: u16 = 1 | 1 << 6 | 1 << 13;
const HAS_DESCRIPTOR: u16 = 1 << 3;
/// The flag bits in which both headers must agree; real writers differ in others.
const COMPARED_FLAGS: u16 = ENCRYPTED | HAS_DESCRIPTOR;
/// Extra field: sizes and offset in 64 bits.
const ZIP64: u16 = 0x0001;
/// Extra field: a second name, in UTF-8, which some readers take instead of the one in the header.
const UNICODE_PATH: u16 = 0x7075;
const STORED: u16 = 0;
const DEFLATED: u16 = 8;

/// One file of the archive.
#[derive(Debug, Clone)]
pub(super) struct Entry<'a> {
    pub name: String,
    method: u16,
    crc: u32,
    size: u32,
    data: &'a [u8],
}

/// What one document may still make us do, nested packages included.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    /// Bytes to inflate.
    pub bytes: u64,
    /// XML elements, references and attributes of interest to read.
    pub elements: u32,
    /// Bytes of XML to read.
    pub xml: u64,
}

impl Budget {
    pub fn of(limits: &StructureLimits) -> Self {
        Self { bytes: limits.inflated_bytes, elements: StructureLimits::XML_ELEMENTS, xml: StructureLimits::XML_BYTES }
    }
}

/// The fields that the central directory and a local header have in common.
#[derive(PartialEq, Eq)]
struct Header<'a> {
    flags: u16,
    method: u16,
    crc: u32,
    packed: u32,
    size: u32,
    name: &'a [u8],
}

struct Central<'a> {
    header: Header<'a>,
    offset: usize,
    unix_mode: u32,
    extra: &'a [u8],
    /// Everything behind the name: the extra fields and the comment of the entry.
    more: &'a [u8],
}

/// Opens an archive. Names that are unsafe and entries that are encrypted are findings; what would let two
/// readers disagree breaks the walk.
pub(super) fn open<'a>(bytes: &'a [u8], limits: &StructureLimits, findings: &mut Findings) -> Walk<Vec<Entry<'a>>> {
    let (end, comment) = end_record(bytes)?;
    if let Some(kind) = foreign_container(comment) {
        return Err(Broken::new(ReasonCode::Polyglot, format!("{kind} inside the archive comment")));
    }
    let field = |at| u16_le(bytes, end + at);
    let (Some(0), Some(0), Some(here), Some(count)) = (field(4), field(6), field(8), field(10)) else {
        return Err(malformed("the archive claims to be one of several disks"));
    };
    if u32::from(count) > limits.entries {
        return Err(bomb(format!("{count} archive entries, the limit is {}", limits.entries)));
    }
    let size = u32_le(bytes, end + 12).map_or(usize::MAX, index);
    let start = u32_le(bytes, end + 16).map_or(usize::MAX, index);
    if here != count || start.checked_add(size) != Some(end) {
        return Err(malformed("the central directory does not end where the end record begins"));
    }
    let directory = bytes.get(start..end).unwrap_or_default();
    let mut central = central_entries(directory, count)?;
    central.sort_by_key(|entry| entry.offset);
    judge_names(&central, limits, findings)?;
    tile(bytes, central, start)
}

/// The end record: the last one, whose comment ends exactly at the end of the file.
fn end_record(bytes: &[u8]) -> Walk<(usize, &[u8])> {
    let from = bytes.len().saturating_sub(END_LENGTH + usize::from(u16::MAX));
    let window = bytes.get(from..).unwrap_or_default();
    let last = from + rfind(window, END).ok_or_else(|| truncated("no end record of the archive"))?;
    let Some(comment_length) = u16_le(bytes, last + 20) else {
        return Err(truncated("the file ends inside the end record of the archive"));
    };
    let comment = bytes.get(last + END_LENGTH..).unwrap_or_default();
    // A record inside the comment of another: which of the two counts depends on the reader.
    let mut at = from;
    while let Some(earlier) = find(bytes, END, at).filter(|at| *at < last) {
        let end = u16_le(bytes, earlier + 20).map(|length| earlier + END_LENGTH + usize::from(length));
        if end.is_some_and(|end| end >= last + END_LENGTH) {
            return Err(malformed("a second end record inside the archive comment"));
        }
        at = earlier + 1;
    }
    match comment.len().cmp(&usize::from(comment_length)) {
        std::cmp::Ordering::Less => Err(truncated("the archive comment reaches past the end of the file")),
        std::cmp::Ordering::Equal => Ok((last, comment)),
        std::cmp::Ordering::Greater => {
            let (comment, tail) = comment.split_at_checked(usize::from(comment_length)).unwrap_or_default();
            // Transfers as text and by hand add a line end, which no reader minds.
            if matches!(tail, b"\n" | b"\r\n") {
                return Ok((last, comment));
            }
            Err(match foreign_container(tail) {
                Some(kind) => Broken::new(ReasonCode::Polyglot, format!("{kind} behind the end of the archive")),
                None => {
                    Broken::new(ReasonCode::TrailingData, format!("{} bytes behind the end of the archive", tail.len()))
                }
            })
        }
    }
}

fn central_entries(directory: &[u8], count: u16) -> Walk<Vec<Central<'_>>> {
    let mut entries = Vec::new();
    let mut at = 0;
    for _ in 0..count {
        let (entry, next) = central_entry(directory, at).ok_or_else(|| malformed("broken central directory"))?;
        entries.push(entry);
        at = next;
    }
    if at != directory.len() {
        return Err(malformed("the central directory holds more than it counts"));
    }
    Ok(entries)
}

fn central_entry(directory: &[u8], at: usize) -> Option<(Central<'_>, usize)> {
    let record = directory.get(at..).filter(|record| record.starts_with(CENTRAL))?;
    let name_length = usize::from(u16_le(record, 28)?);
    let extra_length = usize::from(u16_le(record, 30)?);
    let name = record.get(46..46 + name_length)?;
    let extra = record.get(46 + name_length..46 + name_length + extra_length)?;
    let end = 46 + name_length + extra_length + usize::from(u16_le(record, 32)?);
    record.get(..end)?;
    let made_on_unix = u16_le(record, 4)? >> 8 == 3;
    let unix_mode = if made_on_unix { u32_le(record, 38)? >> 16 } else { 0 };
    let header = Header::read(record, 8, name)?;
    // What follows the name: extra fields and the comment of the entry.
    let more = record.get(46 + name_length..end)?;
    Some((Central { header, offset: index(u32_le(record, 42)?), unix_mode, extra, more }, end + at))
}

/// Judges what a header carries besides the common fields. `more` is all that follows the name.
fn judge_extra(name: &[u8], mut extra: &[u8], more: &[u8], central: bool) -> Walk<()> {
    let shown = String::from_utf8_lossy(name);
    if let Some(kind) = foreign_container(more) {
        return Err(Broken::new(ReasonCode::Polyglot, format!("{kind} in the extra fields of archive entry {shown}")));
    }
    while let (Some(id), Some(length)) = (u16_le(extra, 0), u16_le(extra, 2)) {
        let Some(field) = extra.get(4..4 + usize::from(length)) else { break };
        // A version byte and a checksum of the other name stand before the second.
        if id == UNICODE_PATH && field.get(5..) != Some(name) {
            return Err(malformed(format!("archive entry {shown} has a second name in its Unicode path field")));
        }
        if id == ZIP64 && central {
            return Err(malformed(format!("archive entry {shown} gives its sizes in ZIP64")));
        }
        extra = extra.get(4 + field.len()..).unwrap_or_default();
    }
    Ok(())
}

impl<'a> Header<'a> {
    /// Reads the common fields; `at` is where the flags stand.
    fn read(record: &[u8], at: usize, name: &'a [u8]) -> Option<Self> {
        Some(Self {
            flags: u16_le(record, at)? & COMPARED_FLAGS,
            method: u16_le(record, at + 2)?,
            crc: u32_le(record, at + 8)?,
            packed: u32_le(record, at + 12)?,
            size: u32_le(record, at + 16)?,
            name,
        })
    }
}

fn judge_names(central: &[Central<'_>], limits: &StructureLimits, findings: &mut Findings) -> Walk<()> {
    let mut seen = HashSet::new();
    for entry in central {
        let raw = entry.header.name;
        let name = String::from_utf8_lossy(raw);
        if raw.len() > limits.name_bytes {
            return Err(bomb(format!("entry name of {} bytes", raw.len())));
        }
        let climbs = name.split('/').any(|segment| matches!(segment, "." | ".."));
        let odd = name.contains(['\\', ':']) || name.chars().any(char::is_control) || name.starts_with('/');
        if climbs || odd || name.is_empty() {
            findings.add(ReasonCode::UnsafeName, format!("archive entry {name}"));
        }
        // The file type bits of a symbolic link: extracting it would write through it.
        if entry.unix_mode & 0xF000 == 0xA000 {
            findings.add(ReasonCode::Malformed, format!("archive entry {name} is a symbolic link"));
        }
        if entry.header.flags & ENCRYPTED != 0 {
            findings.add(ReasonCode::Encrypted, format!("archive entry {name} is encrypted"));
        }
        // A part in pieces: some readers put them together, others do not see it.
        if name.ends_with("].piece") || name.ends_with(".last.piece") {
            return Err(malformed(format!("archive entry {name} is a piece of a part")));
        }
        if !seen.insert(super::part_key(&name)) {
            return Err(malformed(format!("two archive entries are called {name}")));
        }
        judge_extra(raw, entry.extra, entry.more, true)?;
    }
    Ok(())
}

/// Lays the entries, sorted by offset, end to end over the file. The first that does not fit breaks the walk.
fn tile<'a>(bytes: &'a [u8], central: Vec<Central<'a>>, directory: usize) -> Walk<Vec<Entry<'a>>> {
    let mut at = 0;
    let mut entries = Vec::new();
    for Central { header, offset, .. } in central {
        let name = String::from_utf8_lossy(header.name).into_owned();
        match offset.cmp(&at) {
            std::cmp::Ordering::Less => return Err(bomb(format!("archive entry {name} overlaps another"))),
            std::cmp::Ordering::Greater => return Err(gap(bytes, at, offset)),
            std::cmp::Ordering::Equal => {}
        }
        let (data, end) = local_entry(bytes, at, &header)
            .ok_or_else(|| malformed(format!("archive entry {name} and its local header disagree")))?;
        let extra = bytes.get(at + 30 + header.name.len()..end).unwrap_or_default();
        let extra = extra.get(..usize::from(u16_le(bytes, at + 28).unwrap_or_default())).unwrap_or_default();
        judge_extra(header.name, extra, extra, false)?;
        if end > directory {
            return Err(bomb(format!("archive entry {name} overlaps the central directory")));
        }
        if !matches!(header.method, STORED | DEFLATED) && header.flags & ENCRYPTED == 0 {
            return Err(malformed(format!("archive entry {name} is compressed with method {}", header.method)));
        }
        // A reader that makes folders drops what this one would hold.
        if name.ends_with('/') && header.size > 0 {
            return Err(malformed(format!("archive entry {name} is a folder with content")));
        }
        at = end;
        entries.push(Entry { name, method: header.method, crc: header.crc, size: header.size, data });
    }
    if at == directory { Ok(entries) } else { Err(gap(bytes, at, directory)) }
}

fn gap(bytes: &[u8], from: usize, to: usize) -> Broken {
    let hidden = bytes.get(from..to).is_some_and(|gap| find(gap, LOCAL, 0).is_some());
    if hidden {
        malformed(format!("an entry at byte {from} is not in the archive's directory"))
    } else {
        malformed(format!("bytes {from} to {to} belong to no archive entry"))
    }
}

/// The data of the entry at `at` and where it ends, if its local header says what the central one says.
fn local_entry<'a>(bytes: &'a [u8], at: usize, central: &Header<'_>) -> Option<(&'a [u8], usize)> {
    let record = bytes.get(at..).filter(|record| record.starts_with(LOCAL))?;
    let name_length = usize::from(u16_le(record, 26)?);
    let extra = usize::from(u16_le(record, 28)?);
    let local = Header::read(record, 6, record.get(30..30 + name_length)?)?;
    let streamed = central.flags & HAS_DESCRIPTOR != 0;
    // A streaming writer knows neither sum nor sizes yet and leaves zeros, each for itself.
    let same = |local: u32, central: u32| local == central || streamed && local == 0;
    if (local.flags, local.method, local.name) != (central.flags, central.method, central.name)
        || !same(local.crc, central.crc)
        || !same(local.packed, central.packed)
        || !same(local.size, central.size)
    {
        return None;
    }
    let start = at + 30 + name_length + extra;
    let end = start.checked_add(index(central.packed))?;
    let data = bytes.get(start..end)?;
    if !streamed {
        return Some((data, end));
    }
    let signature = if bytes.get(end..)?.starts_with(DESCRIPTOR) { 4 } else { 0 };
    let field = |n: usize| u32_le(bytes, end + signature + 4 * n);
    let agrees = (field(0)?, field(1)?, field(2)?) == (central.crc, central.packed, central.size);
    agrees.then_some((data, end + signature + 12))
}

impl Entry<'_> {
    pub fn is_folder(&self) -> bool {
        self.name.ends_with('/')
    }

    /// The content, inflated under both limits: declared sizes are compared first, and then counted, because
    /// headers lie.
    pub fn content(&self, limits: &StructureLimits, budget: &mut Budget) -> Walk<Vec<u8>> {
        let name = &self.name;
        let allowed = limits.part_bytes.min(budget.bytes);
        if u64::from(self.size) > allowed {
            return Err(bomb(format!("part {name} inflates to {} bytes, {allowed} are left", self.size)));
        }
        // One byte more than declared is enough to prove a lie.
        let limit = index(self.size).saturating_add(1);
        let Inflated { bytes: content, used, end } = if self.method == DEFLATED {
            inflate(self.data, limit)
        } else {
            let stored = self.data.get(..limit).unwrap_or(self.data);
            Inflated { bytes: stored.to_vec(), used: self.data.len(), end: End::Whole }
        };
        budget.bytes = budget.bytes.saturating_sub(content.len() as u64);
        let mut sum = flate2::Crc::new();
        sum.update(&content);
        match end {
            End::Broken => Err(malformed(format!("part {name} does not inflate"))),
            _ if content.len() >= limit => Err(bomb(format!("part {name} inflates to more than it declares"))),
            _ if content.len() != index(self.size) || sum.sum() != self.crc => {
                Err(malformed(format!("part {name} has a wrong size or checksum")))
            }
            _ if used != self.data.len() => {
                Err(malformed(format!("part {name} has bytes behind the end of its deflated content")))
            }
            _ => Ok(content),
        }
    }
}
