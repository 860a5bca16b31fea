//! `mk lint`.
/// Options.
#[derive(Debug, clap::Args)]
pub struct Options {}
/// Run.
pub fn run(_: &crate::config::Settings, _: &Options) -> crate::error::Result<()> { Ok(()) }
