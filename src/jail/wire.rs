//! What worker and child say to each other: one packet with JSON in it each, the bytes beside it as memory files.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Confinement;
use crate::media::MediaType;
use crate::policy::ImageRules;
use crate::verdict::{Reason, Sanitization};

/// The largest packet: 32 reasons of 120 characters fit many times.
const MAX_PACKET: usize = 64 << 10;

/// To a child, together with the original and an empty file for the result.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Request {
    pub media: MediaType,
    pub rules: ImageRules,
    /// Bytes of the original.
    pub length: usize,
}

/// From a child.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    /// Its first word.
    Ready(Confinement),
    /// So many bytes are in the file for the result.
    Done {
        media: MediaType,
        length: usize,
        facts: Sanitization,
    },
    Refused(Vec<Reason>),
    Failed(String),
    /// Its last word.
    Panicked,
}

/// Sends a packet, and lends the other side these files.
pub(super) fn send(socket: impl AsFd, packet: &impl Serialize, files: &[BorrowedFd<'_>]) -> io::Result<()> {
    let bytes = serde_json::to_vec(packet)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !files.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(files)) {
        return Err(io::Error::other("more files than one packet can carry"));
    }
    let sent = sendmsg(socket, &[IoSlice::new(&bytes)], &mut ancillary, SendFlags::NOSIGNAL)?;
    if sent == bytes.len() { Ok(()) } else { Err(io::Error::other("a packet was cut")) }
}

/// The next packet and its files; `None` when the other side is gone.
pub(super) fn receive<T: DeserializeOwned>(socket: impl AsFd) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut bytes = vec![0; MAX_PACKET];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let got = rustix::io::retry_on_intr(|| {
        recvmsg(&socket, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)
    })?;
    let files = ancillary.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(files) => Some(files),
        _ => None,
    });
    let files: Vec<OwnedFd> = files.flatten().collect();
    if got.bytes == 0 {
        return Ok(None);
    }
    if got.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(io::Error::other("a packet is too long"));
    }
    let packet = serde_json::from_slice(bytes.get(..got.bytes).unwrap_or_default())?;
    Ok(Some((packet, files)))
}

/// The original in a memory file that nobody can change any more: parent and child speak of the same bytes.
pub(super) fn sealed(bytes: &[u8]) -> io::Result<File> {
    let file = File::from(memfd_create("original", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?);
    file.write_all_at(bytes, 0)?;
    fcntl_add_seals(&file, SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE)?;
    Ok(file)
}

/// An empty memory file.
pub(super) fn empty() -> io::Result<File> {
    Ok(File::from(memfd_create("result", MemfdFlags::CLOEXEC)?))
}

/// The first `length` bytes of a file, in memory of our own: whoever else has the file may go on writing.
pub(super) fn read(file: &File, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}
