//! From the SDK's errors to ours, arm by arm.

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use crate::fault::{Fault, FaultCode};
use crate::verdict::Stage;

/// What an error means for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The object or the version is not there. A missing bucket is not this: it is a broken configuration.
    Gone,
    /// 403. Not "gone": without the right to list, a missing key answers the same.
    Denied,
    /// A condition of the request did not hold.
    Precondition,
    /// Anything else: no connection, no time, 5xx, throttling, a missing bucket.
    Unavailable,
}

/// Sorts an error by its status and code.
pub fn kind<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> ErrorKind {
    let status = error.raw_response().map(|r| r.status().as_u16());
    let code = error.as_service_error().and_then(|e| e.code());
    match (status, code) {
        (_, Some("NoSuchBucket")) => ErrorKind::Unavailable,
        // 405 is what a GET of a delete marker answers, 400 a version id that this store would never give out.
        (Some(404), _)
        | (Some(405), Some("MethodNotAllowed"))
        | (Some(400), Some("NoSuchVersion" | "InvalidArgument")) => ErrorKind::Gone,
        (Some(401 | 403), _) => ErrorKind::Denied,
        (Some(412), _) | (Some(409), Some("ConditionalRequestConflict")) => ErrorKind::Precondition,
        _ => ErrorKind::Unavailable,
    }
}

/// The fault for an error, naming the request.
pub fn fault<E: ProvideErrorMetadata + std::error::Error + 'static>(
    stage: Stage,
    what: &str,
    error: &SdkError<E, HttpResponse>,
) -> Fault {
    let code = match kind(error) {
        ErrorKind::Denied => FaultCode::S3Denied,
        ErrorKind::Gone | ErrorKind::Precondition | ErrorKind::Unavailable => FaultCode::S3Unavailable,
    };
    Fault::new(code, stage, format!("{what}: {}", describe(error)))
}

/// The S3 code where there is one, else the innermost cause: "connection refused" and not "dispatch failure".
pub fn describe<E: ProvideErrorMetadata + std::error::Error + 'static>(error: &SdkError<E, HttpResponse>) -> String {
    if let Some(code) = error.as_service_error().and_then(|e| e.code()) {
        return code.to_owned();
    }
    if let Some(response) = error.raw_response() {
        return format!("status {}", response.status().as_u16());
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

/// `None` where the answer says that the object is not there.
pub fn none_when_gone<T, E: ProvideErrorMetadata + std::error::Error + 'static>(
    sent: Result<T, SdkError<E, HttpResponse>>,
    stage: Stage,
    what: &str,
) -> Result<Option<T>, Fault> {
    match sent {
        Ok(out) => Ok(Some(out)),
        Err(e) if kind(&e) == ErrorKind::Gone => Ok(None),
        Err(e) => Err(fault(stage, what, &e)),
    }
}
