//! The server as the AWS SDK sees it, over HTTP. What every test needs is here.

mod access;
mod body;
mod listing;
mod objects;
mod uploads;

use std::fmt::Debug;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Config, Credentials as Keys, Region, RequestChecksumCalculation, ResponseChecksumValidation,
};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::MetadataDirective;

use super::{Action, Created, Credentials, EmbeddedS3, Grant};

/// Without retries: a test wants to see the first answer.
fn config(server: &EmbeddedS3) -> aws_sdk_s3::config::Builder {
    Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .endpoint_url(server.endpoint())
        .region(Region::new("us-east-1"))
        .force_path_style(true)
        .retry_config(RetryConfig::disabled())
}

fn keys(credentials: &Credentials) -> Keys {
    Keys::new(&credentials.access_key, &credentials.secret_key, None, None, "test")
}

fn client_of(server: &EmbeddedS3, credentials: &Credentials) -> Client {
    Client::from_conf(config(server).credentials_provider(keys(credentials)).build())
}

/// The admin with each setting of the SDK: send and verify checksums only where the protocol demands it, or always.
fn in_both_checksum_modes(server: &EmbeddedS3) -> [Client; 2] {
    [
        (RequestChecksumCalculation::WhenRequired, ResponseChecksumValidation::WhenRequired),
        (RequestChecksumCalculation::WhenSupported, ResponseChecksumValidation::WhenSupported),
    ]
    .map(|(request, response)| {
        let config = config(server).credentials_provider(keys(server.admin()));
        let config = config.request_checksum_calculation(request).response_checksum_validation(response);
        Client::from_conf(config.build())
    })
}

/// A server with a versioned bucket `quarantine` and a plain one, `clean`; and its admin.
async fn server() -> (EmbeddedS3, Client) {
    let server = EmbeddedS3::start(0).await.unwrap();
    server.create_bucket("quarantine", true);
    server.create_bucket("clean", false);
    let admin = client_of(&server, server.admin());
    (server, admin)
}

async fn put(client: &Client, bucket: &str, key: &str, body: &'static [u8]) -> Option<String> {
    let request = client.put_object().bucket(bucket).key(key).body(ByteStream::from_static(body));
    request.send().await.unwrap().version_id
}

async fn get(client: &Client, bucket: &str, key: &str) -> Vec<u8> {
    let output = client.get_object().bucket(bucket).key(key).send().await.unwrap();
    output.body.collect().await.unwrap().to_vec()
}

/// The status and the code of a refusal.
fn refusal<T: Debug, E: Debug + ProvideErrorMetadata>(result: Result<T, SdkError<E>>) -> (u16, String) {
    let error = result.expect_err("should be refused");
    let status = error.raw_response().unwrap_or_else(|| panic!("no answer: {error:?}")).status().as_u16();
    (status, error.code().unwrap_or_default().to_owned())
}

fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}
