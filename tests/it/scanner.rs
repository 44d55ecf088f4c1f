//! The clamd adapter against real clamds, and against everything else that may answer on its port.

use std::sync::Arc;
use std::time::Duration;

use airlock::config::{self, Sources};
use airlock::fault::FaultCode;
use airlock::scanner::clamd::Clamd;
use airlock::scanner::{Answer, Scanner, canary};
use airlock::snapshot::Spool;
use airlock::verdict::ReasonCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::services::{PrivateClamd, clamd, variable};

fn adapter(address: &str, timeout: &str) -> Clamd {
    let flags = vec![format!("clamd.addresses=[\"{address}\"]"), format!("clamd.timeout={timeout}")];
    Clamd::new(&config::load(&Sources { file: None, env: Vec::new(), flags }).expect("valid settings"))
}

async fn scan(clamd: &Clamd, bytes: Vec<u8>) -> Result<Answer, FaultCode> {
    clamd.scan(&Spool::of_bytes(bytes.into())).await.map_err(|f| f.code)
}

fn only(answer: &Answer) -> (ReasonCode, &str) {
    (answer.reasons[0].code, answer.reasons[0].detail.as_str())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_clamd_answers_over_tcp_and_over_its_socket() {
    for address in [clamd(), variable("AIRLOCK_TEST_CLAMD_SOCK")] {
        let clamd = adapter(&address, "20s");
        let engine = clamd.probe().await.expect("the probe");
        assert!(engine.signatures_at.is_some(), "{engine:?}");
        assert_eq!(scan(&clamd, b"nothing bad".to_vec()).await.expect("an answer").reasons, []);
        let found = scan(&clamd, canary::zipped()).await.expect("an answer");
        assert_eq!(only(&found), (ReasonCode::Malware, "Eicar-Test-Signature"));
        assert_eq!(found.engine, engine);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_scans_at_once_all_get_their_own_answer() {
    let clamd = Arc::new(adapter(&clamd(), "60s"));
    let scans = (0..60).map(|n| {
        let clamd = Arc::clone(&clamd);
        tokio::spawn(async move {
            let bytes = if n % 3 == 0 { canary::eicar() } else { format!("file {n}").into_bytes() };
            (n, scan(&clamd, bytes).await)
        })
    });
    for task in scans.collect::<Vec<_>>() {
        let (n, answer) = task.await.expect("no panic");
        assert_eq!(answer.expect("an answer").reasons.len(), usize::from(n % 3 == 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_over_clamds_own_limit_is_a_fault_and_never_clean() {
    let private = PrivateClamd::start(&[("CLAMD_SET", "StreamMaxLength=1M")]);
    let clamd = adapter(&private.address(), "20s");
    let fault = scan(&clamd, vec![b'x'; 3 << 20]).await.expect_err("a fault");
    assert!(matches!(fault, FaultCode::ClamdProtocol | FaultCode::ClamdUnavailable), "{fault}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_there_is_unavailable() {
    let address = format!("tcp://127.0.0.1:{}", crate::services::free_port());
    assert_eq!(scan(&adapter(&address, "5s"), vec![1]).await.expect_err("a fault"), FaultCode::ClamdUnavailable);
    let missing = "unix:///nonexistent/clamd.sock";
    assert_eq!(scan(&adapter(missing, "5s"), vec![1]).await.expect_err("a fault"), FaultCode::ClamdUnavailable);
}

/// What the impostor is asked about.
const UPLOAD: &[u8] = b"an upload";

/// Something on clamd's port: tells a good version, passes every self-test, and answers other scans with `reply`.
async fn impostor(reply: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = format!("tcp://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut command = [0; 9];
            if stream.read_exact(&mut command).await.is_err() {
                continue;
            }
            if command == *b"zVERSION\0" {
                let now = time::OffsetDateTime::now_utc();
                let date = time::macros::format_description!(
                    "[weekday repr:short] [month repr:short] [day padding:space] [hour]:[minute]:[second] [year]"
                );
                let version = format!("ClamAV 1.4.6/27500/{}\0", now.format(&date).expect("a date"));
                let _ = stream.write_all(version.as_bytes()).await;
                continue;
            }
            let _nul = stream.read_u8().await;
            let mut file = Vec::new();
            loop {
                let mut length = [0; 4];
                if stream.read_exact(&mut length).await.is_err() || length == [0; 4] {
                    break;
                }
                let mut chunk = vec![0; u32::from_be_bytes(length) as usize];
                if stream.read_exact(&mut chunk).await.is_err() {
                    break;
                }
                file.extend(chunk);
            }
            let answer = match file {
                _ if file == UPLOAD => reply,
                _ if file == canary::encrypted() => b"stream: Heuristics.Encrypted.Zip FOUND\0",
                _ => b"stream: Eicar-Test-Signature FOUND\0",
            };
            let _ = stream.write_all(answer).await;
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_exact_clean_reply_is_clean() {
    for reply in [&b"stream: OK"[..], b"HTTP/1.1 200 OK\r\n\r\n", b"OK\0", b"stream: OK\0stream: OK\0", b"", b"\0"] {
        let clamd = adapter(&impostor(reply).await, "5s");
        let answer = scan(&clamd, UPLOAD.to_vec()).await;
        assert!(answer.is_err(), "{} gave {answer:?}", String::from_utf8_lossy(reply));
    }
    let clamd = adapter(&impostor(b"stream: OK\0").await, "5s");
    assert_eq!(scan(&clamd, UPLOAD.to_vec()).await.expect("clean").reasons, [], "the impostor itself can say clean");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_clamd_costs_its_deadline_and_no_more() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = format!("tcp://{}", listener.local_addr().expect("an address"));
    let started = std::time::Instant::now();
    let fault = scan(&adapter(&address, "1s"), vec![1]).await.expect_err("a fault");
    assert_eq!(fault, FaultCode::ClamdBusy);
    assert!(started.elapsed() < Duration::from_secs(4));
}
