//! The configuration: one TOML file, then environment variables, then flags; checked as a whole at start.
//!
//! One [table of keys](keys) drives everything. What was given is laid over the defaults (`layers`), read
//! into types (`reader`, `build`) and compared with itself (`cross`, `buckets`); all mistakes of all steps
//! come back together. A misspelt limit must never silently fall to its default, so whatever is not in the
//! table is an error.

pub mod keys;
pub mod kind;
pub mod secret;
pub mod units;

mod buckets;
mod build;
mod cross;
mod layers;
mod problem;
mod reader;
mod render;
mod schema;
mod settings;
mod value;

#[cfg(test)]
mod tests;

pub use layers::Sources;
pub use problem::{ConfigErrors, Origin, Problem};
pub use render::{reference, sample};
pub use schema::json_schema;
pub use secret::{AmqpUrl, Secret};
pub use settings::*;

use layers::Layers;
use reader::Reader;

/// Reads and checks the whole configuration.
///
/// # Errors
/// Every mistake in every source, at once.
pub fn load(sources: &Sources) -> Result<Settings, ConfigErrors> {
    checked(&Layers::collect(sources))
}

/// The configuration that holds, as a file that [`load`] reads again, with the origin of each value and
/// without secrets.
///
/// # Errors
/// As [`load`].
pub fn effective_toml(sources: &Sources) -> Result<String, ConfigErrors> {
    let layers = Layers::collect(sources);
    checked(&layers).map(|_| render::effective(&layers))
}

fn checked(layers: &Layers) -> Result<Settings, ConfigErrors> {
    if layers.without_file {
        // The rest would be judged by defaults that the file may well have changed.
        return Err(ConfigErrors::sorted(layers.problems.clone()));
    }
    let mut reader = Reader::new(layers);
    let settings = build::settings(&mut reader);
    cross::check(&settings, &mut reader);
    match reader.into_problems() {
        problems if problems.is_empty() => Ok(settings),
        problems => Err(ConfigErrors::sorted(problems)),
    }
}
