//! Bytes on the way to clamd and back, on either kind of socket.

use std::io;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use crate::config::ClamdAddress;
use crate::scanner::reply::{self, MAX_REPLY_BYTES, Reply};
use crate::snapshot::Snapshot;

/// The longest wait for a connection; the rest of the time belongs to the scan.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The size of an `INSTREAM` chunk. Between 1 KiB and 1 MiB it makes no measurable difference.
const CHUNK: usize = 64 << 10;

/// Sends a command and reads the whole answer.
pub(super) async fn command(address: &ClamdAddress, command: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = connect(address).await?;
    stream.write_all(command).await?;
    read_reply(&mut stream).await
}

/// Sends the whole snapshot for a scan and reads the whole reply.
pub(super) async fn instream(address: &ClamdAddress, snapshot: &Snapshot) -> io::Result<Vec<u8>> {
    let mut stream = connect(address).await?;
    // A reply that came before we were done (a limit, a full disk) explains a failed write better than the
    // write's own error does, so it is read in either case.
    let sent = send(&mut stream, snapshot).await;
    let reply = read_reply(&mut stream).await;
    match (sent, reply) {
        (Ok(()), reply) => reply,
        (Err(_), Ok(reply)) if !reply.is_empty() && reply::parse(&reply) != Reply::Clean => Ok(reply),
        (Err(e), _) => Err(e),
    }
}

/// Either kind of socket.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

async fn connect(address: &ClamdAddress) -> io::Result<Box<dyn Stream>> {
    let connecting = async {
        Ok::<Box<dyn Stream>, io::Error>(match address {
            ClamdAddress::Tcp(host) => {
                let stream = TcpStream::connect(host.as_str()).await?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
            ClamdAddress::Unix(path) => Box::new(UnixStream::connect(path).await?),
        })
    };
    tokio::time::timeout(CONNECT_TIMEOUT, connecting).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

/// `zINSTREAM`, then chunks of a length and that many bytes, then a length of zero.
async fn send(stream: &mut Box<dyn Stream>, snapshot: &Snapshot) -> io::Result<()> {
    stream.write_all(b"zINSTREAM\0").await?;
    let (mut offset, mut frame) = (0, BytesMut::with_capacity(CHUNK + 4));
    loop {
        let batch = snapshot.chunk(offset).await?;
        if batch.is_empty() {
            break;
        }
        offset += batch.len() as u64;
        for chunk in batch.chunks(CHUNK) {
            frame.clear();
            frame.put_u32(u32::try_from(chunk.len()).map_err(io::Error::other)?);
            frame.put_slice(chunk);
            stream.write_all(&frame).await?;
        }
    }
    stream.write_all(&0u32.to_be_bytes()).await?;
    stream.flush().await
}

/// Everything until clamd closes the connection, but not more than a reply can be.
async fn read_reply(stream: &mut Box<dyn Stream>) -> io::Result<Vec<u8>> {
    let mut reply = Vec::new();
    match stream.take(MAX_REPLY_BYTES as u64 + 1).read_to_end(&mut reply).await {
        // Over a limit clamd resets the connection behind its reply.
        Err(_) if !reply.is_empty() => Ok(reply),
        Err(e) => Err(e),
        Ok(_) => Ok(reply),
    }
}
