//! `mk man`: writes manual pages, generated from the command line's definition.

use std::path::PathBuf;

use crate::config::{Format, Settings};
use crate::error::Result;
use crate::output;

/// Where to.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Folder that takes `mk.1` and a page for each command; made when missing
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// Carries out the command.
pub fn run(settings: &Settings, options: &Options) -> Result<()> {
    fs_err::create_dir_all(&options.folder)?;
    let mut written = Vec::new();
    for (name, page) in crate::document::manual_pages(crate::cli::definition())? {
        let path = options.folder.join(name);
        fs_err::write(&path, page)?;
        written.push(path);
    }
    if settings.format == Format::Json {
        let written: Vec<_> = written.iter().map(|path| output::path(path)).collect();
        return output::json(&serde_json::json!({ "written": written }));
    }
    output::data(&written.iter().map(|path| format!("{}\n", path.display())).collect::<String>())
}
