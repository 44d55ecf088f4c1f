//! `airlock config`: the effective configuration, the sample, the schema, the reference.

use clap::Args;

use super::{Exit, Global};
use crate::config;

#[derive(Debug, Args)]
pub(super) struct ConfigArgs {
    /// A commented sample with every key and its default
    #[arg(long, conflicts_with = "schema")]
    default: bool,
    /// The JSON schema of the configuration file
    #[arg(long)]
    schema: bool,
    /// The reference page of all keys, in Markdown
    #[arg(long, conflicts_with_all = ["default", "schema"])]
    reference: bool,
}

pub(super) fn run(global: &Global, args: &ConfigArgs) -> Result<Exit, Exit> {
    if args.default {
        print!("{}", config::sample());
    } else if args.reference {
        print!("{}", config::reference());
    } else if args.schema {
        println!("{:#}", config::json_schema());
    } else {
        let effective = config::effective_toml(&global.sources()).map_err(|errors| {
            eprintln!("{errors}");
            Exit::Configuration
        })?;
        print!("{effective}");
    }
    Ok(Exit::Ok)
}
