//! What a route accepts: allow list, limits, switches for active content, image rules; and their hash.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::feature::Feature;
use crate::limits::StructureLimits;
use crate::media::MediaType;
use crate::object::{ByteSize, Sha256};
use crate::verdict::PolicyRef;

/// The rules of one route. Built from the configuration, which checks every range.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Policy {
    pub name: String,
    pub types: Vec<MediaType>,
    /// Largest accepted upload; the limit itself is accepted.
    pub max_size: ByteSize,
    pub active_content: ActiveContent,
    pub image: ImageRules,
    pub documents: StructureLimits,
}

impl Policy {
    /// The name and a digest of everything that can change a verdict or an output, this version of Airlock
    /// included.
    #[must_use]
    pub fn reference(&self) -> PolicyRef {
        let content = serde_json::to_vec(&(env!("CARGO_PKG_VERSION"), self)).unwrap_or_default();
        let mut hash = Sha256::of(&content).to_string();
        hash.truncate(16);
        PolicyRef { name: self.name.clone(), hash }
    }

    /// The guide's policy under the name `default`.
    #[must_use]
    pub fn guide() -> Self {
        Self {
            name: "default".to_owned(),
            types: MediaType::ALL.to_vec(),
            max_size: ByteSize::mib(10),
            active_content: ActiveContent::default(),
            image: ImageRules::default(),
            documents: StructureLimits::default(),
        }
    }
}

/// What to do with one kind of active content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Switch {
    Reject,
    Allow,
}

/// What documents may carry: everything is rejected unless allowed by name. Malware, encryption and broken structure
/// have no name here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ActiveContent(BTreeSet<Feature>);

impl ActiveContent {
    pub fn allow(&mut self, feature: Feature) {
        self.0.insert(feature);
    }

    #[must_use]
    pub fn allows(&self, feature: Feature) -> bool {
        self.0.contains(&feature)
    }
}

/// The format of a sanitized image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputFormat {
    /// The format of the original.
    Same,
    /// JPEG whatever came in (the guide's literal rule): first frame, transparency on white.
    Jpeg,
}

/// What happens to bytes behind the end of an image that is re-encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trailing {
    /// They vanish with the re-encoding and are reported, unless they begin a foreign container.
    Drop,
    Reject,
}

/// How images are judged and rewritten. Sizes are in pixels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRules {
    /// The box an image is fitted into; it is never enlarged.
    pub max_width: u32,
    pub max_height: u32,
    /// JPEG and lossy WebP quality, 1 to 100.
    pub jpeg_quality: u8,
    pub progressive: bool,
    pub output: OutputFormat,
    /// Largest canvas that is decoded at all.
    pub max_pixels: u64,
    pub max_frames: u32,
    /// Largest canvas times frames.
    pub max_total_pixels: u64,
    pub trailing: Trailing,
}

impl Default for ImageRules {
    fn default() -> Self {
        Self {
            max_width: 2000,
            max_height: 2000,
            jpeg_quality: 85,
            progressive: true,
            output: OutputFormat::Same,
            max_pixels: 50_000_000,
            max_frames: 500,
            max_total_pixels: 250_000_000,
            trailing: Trailing::Drop,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_follows_the_content() {
        let (a, mut b) = (Policy::guide(), Policy::guide());
        assert_eq!(a.reference(), b.reference());
        b.active_content.allow(Feature::Macros);
        assert_ne!(a.reference().hash, b.reference().hash);
    }
}
