//! Sanitize: images are decoded and encoded anew without metadata; documents pass through as they are.
//!
//! What the encoder wrote is not believed either: the whole identification of the output type walks over it
//! before it may be promoted.

use std::sync::Arc;

use super::Judge;
use super::budget::Reservation;
use super::identify::{panicked, unreadable};
use crate::fault::{Fault, FaultCode};
use crate::image::{self, ImageError};
use crate::media::{self, Claims};
use crate::policy::{ImageRules, Policy};
use crate::stage::{Halt, Sanitized, Scanned};
use crate::verdict::{Removed, Stage};

/// Makes the safe form. `trailing` says that identification found bytes behind the end of the image; `resources`
/// is what the work may use.
pub(super) async fn sanitize(
    file: Scanned,
    trailing: bool,
    policy: &Arc<Policy>,
    judge: &Judge,
    resources: Reservation,
) -> Result<Sanitized, Halt> {
    if !file.media().is_image() {
        return Ok(file.passed_through());
    }
    let media = file.media();
    let (snapshot, rules, jail) = (file.snapshot().clone(), Arc::clone(policy), Arc::clone(&judge.jail));
    let made = judge.budget.on_core(move || {
        let _resources = resources;
        let bytes = snapshot.load()?;
        Ok(jail.sanitize(&bytes, media, &rules.image).map(|made| made.map(|image| verified(image, &rules))))
    });
    let made = made.await.map_err(|e| panicked(Stage::Sanitize, &e))?;
    match made.map_err(|e: std::io::Error| unreadable(Stage::Sanitize, &e))?? {
        Ok(Ok(mut image)) => {
            if trailing && !image.facts.removed.contains(&Removed::TrailingData) {
                image.facts.removed.push(Removed::TrailingData);
            }
            Ok(file.reencoded(image))
        }
        Ok(Err(fault)) => Err(fault.into()),
        Err(ImageError::Refused(reasons)) => Err(Halt::Reject(Box::new(file.reject(reasons)))),
        Err(ImageError::Failed(why)) => Err(Fault::new(FaultCode::Internal, Stage::Sanitize, why).into()),
    }
}

/// Walks over the output as over an upload: right type, whole, nothing behind its end.
fn verified(image: image::Sanitized, policy: &Policy) -> Result<image::Sanitized, Fault> {
    let no_claims = Claims { key_name: "", key: None, filename: None, declared: &[] };
    // The output has at most the pixels of the input, so its limits are those of the input.
    let rules = ImageRules { max_frames: u32::MAX, max_total_pixels: u64::MAX, ..policy.image.clone() };
    let policy = Policy { types: vec![image.media], image: rules, ..policy.clone() };
    let found = media::examine(&image.bytes, &no_claims, &policy);
    if found.detected == Some(image.media) && found.reasons.is_empty() && !found.trailing {
        return Ok(image);
    }
    let why = found.reasons.first().map_or_else(|| "a wrong type".to_owned(), |r| r.detail.clone());
    Err(Fault::new(FaultCode::Internal, Stage::Sanitize, format!("the encoder's own output is refused: {why}")))
}
