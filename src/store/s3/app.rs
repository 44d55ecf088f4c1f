//! The application's side of the buckets, for `airlock demo`, benchmarks and tests: an uploader that may put into
//! quarantine and read what is clean. Nothing in the pipeline uses it.

use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;

use super::client;
use super::error::{ErrorKind, describe, kind};
use crate::config;

/// An application with its own credentials.
#[derive(Debug, Clone)]
pub struct App(aws_sdk_s3::Client);

/// Why the store did not do what the application asked for.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error("the store refuses it: {0}")]
    Denied(String),
    #[error("there is no such object")]
    Missing,
    #[error("{0}")]
    Failed(String),
}

impl App {
    /// A client with the application's credentials.
    pub async fn connect(settings: &config::S3) -> Self {
        Self(client::sdk_client(settings).await)
    }

    /// Uploads; returns the version.
    ///
    /// # Errors
    /// As the store answers.
    pub async fn put(
        &self,
        bucket: &str,
        key: &str,
        body: Bytes,
        content_type: Option<&str>,
    ) -> Result<Option<String>, AppError> {
        let request = self.0.put_object().bucket(bucket).key(key).set_content_type(content_type.map(str::to_owned));
        let out = request.body(ByteStream::from(body)).send().await.map_err(|e| sorted(&e))?;
        Ok(out.version_id().map(str::to_owned))
    }

    /// Downloads the current version.
    ///
    /// # Errors
    /// As the store answers.
    pub async fn get(&self, bucket: &str, key: &str) -> Result<Bytes, AppError> {
        let out = self.0.get_object().bucket(bucket).key(key).send().await.map_err(|e| sorted(&e))?;
        Ok(out.body.collect().await.map_err(|e| AppError::Failed(e.to_string()))?.into_bytes())
    }

    /// The keys of a bucket, at most 1000.
    ///
    /// # Errors
    /// As the store answers.
    pub async fn keys(&self, bucket: &str) -> Result<Vec<String>, AppError> {
        let page = self.0.list_objects_v2().bucket(bucket).send().await.map_err(|e| sorted(&e))?;
        Ok(page.contents().iter().filter_map(|o| o.key().map(str::to_owned)).collect())
    }
}

fn sorted<E>(error: &aws_sdk_s3::error::SdkError<E, aws_sdk_s3::config::http::HttpResponse>) -> AppError
where
    E: aws_sdk_s3::error::ProvideErrorMetadata + std::error::Error + 'static,
{
    match kind(error) {
        ErrorKind::Denied => AppError::Denied(describe(error)),
        ErrorKind::Gone => AppError::Missing,
        ErrorKind::Precondition | ErrorKind::Unavailable => AppError::Failed(describe(error)),
    }
}
