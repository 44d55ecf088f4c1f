//! `airlock healthcheck`: for container probes, in images without a shell or an HTTP client.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Exit, Global};

/// The longest answer that is read.
const MAX_ANSWER: u64 = 64 << 10;

#[derive(Debug, Args)]
pub(super) struct HealthcheckArgs {
    /// Ask whether the worker is ready (consuming, every dependency up) and not only whether it is alive
    #[arg(long)]
    ready: bool,
    /// Seconds to wait for the answer
    #[arg(long, default_value_t = 3, value_name = "SECONDS")]
    timeout: u64,
}

pub(super) async fn run(global: &Global, args: &HealthcheckArgs) -> Result<Exit, Exit> {
    // Probes know two answers only: 0 and 1.
    let settings = global.settings().map_err(|_| Exit::Negative)?;
    let Some(address) = settings.ops.listen else {
        eprintln!("airlock healthcheck: [ops] listen is off, so there is nothing to ask");
        return Ok(Exit::Negative);
    };
    let path = if args.ready { "/readyz" } else { "/livez" };
    match tokio::time::timeout(Duration::from_secs(args.timeout), get(address, path)).await {
        Ok(Ok((200, _))) => Ok(Exit::Ok),
        Ok(Ok((status, body))) => Ok(unhealthy(address, path, &format!("answered {status}: {}", body.trim()))),
        Ok(Err(e)) => Ok(unhealthy(address, path, &e.to_string())),
        Err(_) => Ok(unhealthy(address, path, &format!("no answer within {} s", args.timeout))),
    }
}

fn unhealthy(address: SocketAddr, path: &str, what: &str) -> Exit {
    eprintln!("airlock healthcheck: http://{address}{path}: {what}");
    Exit::Negative
}

/// The status and the body of one GET. Our own listener closes the connection behind its answer.
async fn get(address: SocketAddr, path: &str) -> std::io::Result<(u16, String)> {
    let mut address = address;
    if address.ip().is_unspecified() {
        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.split(' ').nth(1).and_then(|s| s.parse().ok());
    let status = status.ok_or_else(|| std::io::Error::other("the answer is not HTTP"))?;
    Ok((status, answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()))
}
