//! One signed form POST to the store.

use std::time::SystemTime;

use aws_sdk_s3::config::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::services::variable;

/// Posts a form with the admin's signature; returns the body of the answer.
pub async fn post(body: &str) -> String {
    let endpoint = variable("AIRLOCK_TEST_S3");
    let host = endpoint.strip_prefix("http://").expect("a plain HTTP endpoint");
    let (key, secret) = (variable("AIRLOCK_TEST_S3_KEY"), variable("AIRLOCK_TEST_S3_SECRET"));
    let identity = Credentials::new(key, secret, None, None, "test").into();
    let params = SigningParams::builder()
        .identity(&identity)
        .region("default")
        .name("sns")
        .time(SystemTime::now())
        .settings(SigningSettings::default())
        .build()
        .expect("all parameters are set");
    let form = "application/x-www-form-urlencoded; charset=utf-8";
    let headers = [("host", host), ("content-type", form)];
    let request =
        SignableRequest::new("POST", format!("{endpoint}/"), headers.into_iter(), SignableBody::Bytes(body.as_bytes()));
    let (instructions, _) =
        sign(request.expect("a signable request"), &params.into()).expect("a signature").into_parts();
    let mut head =
        format!("POST / HTTP/1.1\r\nHost: {host}\r\nContent-Type: {form}\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in instructions.headers() {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let mut stream = tokio::net::TcpStream::connect(host).await.expect("the store answers");
    let request = format!("{head}Connection: close\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).await.expect("the request is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    answer
}
