//! To come.
#[derive(Debug, clap::Args)]
/// Options.
pub struct Options {}
/// Carries out the command.
pub fn run(_settings: &crate::config::Settings, _options: &Options) -> crate::error::Result<()> { Ok(()) }
