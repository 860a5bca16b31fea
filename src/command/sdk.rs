//! `mk sdk`: builds the package that makes a product's SDK, and takes the archive out of the build root.

use std::path::PathBuf;

use crate::cli::Target;
use crate::config::{Format, Settings};
use crate::digest::Digest;
use crate::error::{Error, Kind, Result};
use crate::load;
use crate::output;
use crate::units;

/// What to make.
#[derive(Debug, clap::Args)]
pub struct Options {
    #[command(flatten)]
    target: Target,
    /// Folder to write to [default: the workspace]
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
}

/// Carries out the command.
pub fn run(settings: &Settings, options: &Options) -> Result<()> {
    let store = settings.store()?;
    let _in_use = store.in_use()?;
    let (board, product) = (&options.target.board, &options.target.product);
    let package = load::variable(settings, &store, board, product, "SDKPKG")?;
    let built = super::build::build_first(settings, &store, &options.target, std::slice::from_ref(&package))
        .map_err(|error| match error.kind {
            Kind::Usage if error.message.starts_with("unknown package") => {
                error.hint("SDKPKG of TOOLCHAIN names the package that makes an SDK: see docs/sdk.md")
            }
            _ => error,
        })?;
    let place = built.loaded.place(&package)?;
    let deploy = built.found[place].as_ref().map(|found| found.entry.deploy()).unwrap_or_default();
    let files: Vec<PathBuf> = fs_err::read_dir(&deploy)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()?
        .into_iter()
        .filter(|path| path.is_file())
        .collect();
    let [archive] = files.as_slice() else {
        return Err(Error::new(
            Kind::Recipe,
            format!("`{package}` must deploy one file, the SDK's archive; it deploys {}", files.len()),
        ));
    };

    let folder = options.output.clone().unwrap_or_else(|| settings.workspace.root().to_owned());
    fs_err::create_dir_all(&folder)?;
    let file = folder.join(archive.file_name().unwrap_or_default());
    // Beside it first: whoever reads it now has the old one whole.
    let fresh = tempfile::Builder::new().prefix(".new-").tempfile_in(&folder)?.into_temp_path();
    fs_err::copy(archive, &fresh)?;
    fresh.persist(&file).map_err(|error| error.error)?;

    let (size, sha256) = (fs_err::metadata(&file)?.len(), Digest::of_file(&file)?);
    if settings.format == Format::Json {
        let file = std::path::absolute(&file)?;
        return output::json(&serde_json::json!({
            "board": board, "product": product, "file": output::path(&file), "size": size, "sha256": sha256,
        }));
    }
    output::data(&output::table(&[vec![file.display().to_string(), units::size(size)]]))
}
