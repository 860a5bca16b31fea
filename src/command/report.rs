//! `mk report`: one self-contained HTML page about the last build.

use std::path::PathBuf;

use crate::config::{Format, Settings};
use crate::error::{Error, Kind, Result};
use crate::output;
use crate::trace::{self, Run};

/// Which build, and where to.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Build root to tell of [default: the one built last]
    #[arg(long, value_name = "BOARD-PRODUCT")]
    build: Option<String>,
    /// File to write; `-` is standard output [default: BOARD-PRODUCT/report.html]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Carries out the command.
pub fn run(settings: &Settings, options: &Options) -> Result<()> {
    let json = settings.format == Format::Json;
    if json && options.output.as_ref().is_some_and(|path| path.as_os_str() == "-") {
        return Err(Error::new(Kind::Usage, "`--format json` does not go with `--output -`"));
    }
    let root = super::choose_build_root(settings, options.build.as_deref())?;
    let record = root.logs().join("events.json");
    let nothing = || {
        Error::new(
            Kind::Usage,
            format!("`{}` has no record of a build: there is no `{}`", root.name(), record.display()),
        )
        .hint("a build that does something leaves one")
    };
    let events = if record.is_file() { trace::read(&record)? } else { return Err(nothing()) };
    let page = crate::page::page(&Run::of(&events).ok_or_else(nothing)?);
    match options.output.as_deref() {
        Some(path) if path.as_os_str() == "-" => output::data(&page),
        path => {
            let path = path.map_or_else(|| root.root().join("report.html"), PathBuf::from);
            fs_err::write(&path, page)?;
            if json {
                let file = std::path::absolute(&path)?;
                let said = serde_json::json!({ "build": root.name(), "file": output::path(&file) });
                return output::json(&said);
            }
            output::data(&format!("{}\n", path.display()))
        }
    }
}
