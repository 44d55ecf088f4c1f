//! The child: confines itself, says how far that went, and then answers one request after the other until its
//! parent is gone.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::confine::confine;
use super::wire::{self, Reply, Request};
use crate::image::{self, ImageError};

/// Serves on standard input, which is a socket to the parent.
///
/// # Errors
/// When the parent cannot be understood or heard.
pub fn serve() -> io::Result<()> {
    // The usual hook looks for names of functions in files, which are out of reach from here.
    std::panic::set_hook(Box::new(|_| {}));
    let socket = rustix::stdio::stdin();
    wire::send(socket, &Reply::Ready(confine()), &[])?;
    while let Some((request, files)) = wire::receive::<Request>(socket)? {
        // A decoder that has panicked has broken an assumption, and what it leaves behind is not used again.
        let reply = catch_unwind(AssertUnwindSafe(|| answer(&request, files)));
        wire::send(socket, reply.as_ref().unwrap_or(&Reply::Panicked), &[])?;
        if reply.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

fn answer(request: &Request, files: Vec<OwnedFd>) -> Reply {
    let Ok([original, result]) = <[OwnedFd; 2]>::try_from(files) else {
        return Reply::Failed("not the two files of a request".to_owned());
    };
    let made = wire::read(&File::from(original), request.length)
        .map(|bytes| image::sanitize(&bytes, request.media, &request.rules));
    match made {
        Ok(Ok(image)) => match File::from(result).write_all_at(&image.bytes, 0) {
            Ok(()) => Reply::Done { media: image.media, length: image.bytes.len(), facts: image.facts },
            Err(error) => Reply::Failed(format!("the result cannot be written: {error}")),
        },
        Ok(Err(ImageError::Refused(reasons))) => Reply::Refused(reasons),
        Ok(Err(ImageError::Failed(why))) => Reply::Failed(why),
        Err(error) => Reply::Failed(format!("the original cannot be read: {error}")),
    }
}
