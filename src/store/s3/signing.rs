//! Signs a PUT with the digest that the snapshot knows already.
//!
//! Left alone, the SDK hashes the whole body once more, on the async runtime: tens of milliseconds for a large
//! file during which nothing else runs there.

use aws_runtime::auth::SigV4OperationSigningConfig;
use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_sigv4::http_request::SignableBody;

use crate::object::Sha256;

/// Gives the signer the digest of the body.
#[derive(Debug)]
pub(super) struct KnownDigest(pub Sha256);

impl Intercept for KnownDigest {
    fn name(&self) -> &'static str {
        "KnownDigest"
    }

    fn modify_before_signing(
        &self,
        _context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let mut signing = config.load::<SigV4OperationSigningConfig>().cloned().ok_or("no signing configuration")?;
        // A body that differed from it would be refused by the store: the digest is part of the signature.
        signing.signing_options.payload_override = Some(SignableBody::Precomputed(self.0.to_string()));
        config.interceptor_state().store_put(signing);
        Ok(())
    }
}
