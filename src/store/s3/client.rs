//! The SDK client from the settings.

use aws_config::BehaviorVersion;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{
    Builder, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation, SharedHttpClient,
    retry::RetryConfig, timeout::TimeoutConfig,
};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};

use super::S3;
use crate::config;

/// A client for the configured endpoint. Connects when first used; credentials come from the settings, or else
/// from the AWS chain (environment, profile, web identity, container, instance).
pub async fn connect(settings: &config::S3) -> S3 {
    S3(sdk_client(settings).await)
}

pub(super) async fn sdk_client(settings: &config::S3) -> Client {
    let http = aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    let (request, response) = match settings.checksums {
        config::Checksums::WhenRequired => {
            (RequestChecksumCalculation::WhenRequired, ResponseChecksumValidation::WhenRequired)
        }
        config::Checksums::WhenSupported => {
            (RequestChecksumCalculation::WhenSupported, ResponseChecksumValidation::WhenSupported)
        }
    };
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(std::time::Duration::from_secs(5))
        .read_timeout(settings.timeout)
        .operation_attempt_timeout(settings.timeout)
        .build();
    let builder = match (&settings.access_key, &settings.secret_key) {
        (Some(key), Some(secret)) => Builder::new()
            .behavior_version(BehaviorVersion::latest())
            .credentials_provider(Credentials::new(key, secret.expose(), None, None, "configuration")),
        _ => from_chain(&http, settings).await,
    };
    let mut builder = builder;
    builder.set_endpoint_url(settings.endpoint.clone());
    let config = builder
        .region(Region::new(settings.region.clone()))
        .force_path_style(settings.path_style)
        .request_checksum_calculation(request)
        .response_checksum_validation(response)
        .timeout_config(timeouts)
        // A short retry rides out a lost connection; real outages are the retry tiers' business.
        .retry_config(RetryConfig::standard().with_max_attempts(3))
        .http_client(http)
        .build();
    Client::from_conf(config)
}

async fn from_chain(http: &SharedHttpClient, settings: &config::S3) -> Builder {
    let chain = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http.clone())
        .region(Region::new(settings.region.clone()))
        .load()
        .await;
    Builder::from(&chain)
}
