//! `mk run`: boots what `release-<board>` deployed.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::boot;
use crate::cli::Target;
use crate::config::{Format, Settings};
use crate::error::{Error, Kind, Result};
use crate::layout::BuildRoot;
use crate::output;

/// How to boot.
#[derive(Debug, clap::Args)]
pub struct Options {
    #[command(flatten)]
    target: Target,
    /// Log in, look around, come in by ssh, power off; say what passed
    #[arg(long)]
    test: bool,
    /// Processor: kvm or tcg (emulation) [default: kvm where it works]
    #[arg(long, value_name = "KIND", value_parser = ["kvm", "tcg"])]
    accel: Option<String>,
    /// Who logs in for the test
    #[arg(long, default_value = "root", requires = "test")]
    user: String,
    /// Typed when the console asks for it
    #[arg(long, default_value = "root", requires = "test")]
    password: String,
    /// Seconds that the test may take
    #[arg(long, value_name = "SECONDS", default_value_t = 300, requires = "test", value_parser = clap::value_parser!(u64).range(1..=86400))]
    timeout: u64,
    /// For the `run` script that was built, as `--data FILE`; `-- --help` shows what it takes
    #[arg(last = true, value_name = "ARGUMENT")]
    words: Vec<OsString>,
}

/// Carries out the command.
pub fn run(settings: &Settings, options: &Options) -> Result<()> {
    let Target { board, product } = &options.target;
    crate::names::check("board", board)?;
    crate::names::check("product", product)?;
    let build_root = settings.workspace.build_root(board, product);
    let script = script(&build_root, board);
    if !script.is_file() {
        let shown = format!("{}/deploy/release-{board}/run", build_root.name());
        return Err(Error::new(Kind::Usage, format!("nothing to boot: there is no `{shown}`"))
            .hint(match script.parent().is_some_and(Path::is_dir) {
                true => format!("`pkg/release-{board}` was built and deploys no program `run`, which is what this command starts"),
                false => format!("`{} {board} {product}` builds it", settings.again),
            }));
    }
    let accel = match options.accel.as_deref() {
        Some("kvm") => Some(boot::Accel::Kvm),
        Some(_) => Some(boot::Accel::Tcg),
        None => None,
    };
    if !options.test {
        return boot::interactive(&script, accel, &options.words, &mut crate::report::note);
    }
    // `mk clean --logs` takes it away.
    fs_err::create_dir_all(build_root.logs())?;
    let log = build_root.logs().join("console.log");
    let mut wanted = boot::Options::new(log);
    wanted.accel = accel;
    wanted.more.clone_from(&options.words);
    wanted.user.clone_from(&options.user);
    wanted.password.clone_from(&options.password);
    wanted.timeout = Duration::from_secs(options.timeout);
    let report = boot::test(&script, &wanted)?;
    if settings.format == Format::Json {
        let rows: Vec<_> = report
            .rows
            .iter()
            .map(|row| serde_json::json!({ "check": row.name, "passed": row.outcome == boot::Outcome::Pass, "seen": row.seen }))
            .collect();
        let boot = report.boot.map(|time| time.as_secs_f64());
        output::json(
            &serde_json::json!({ "passed": report.passed(), "boot_seconds": boot, "accel": report.accel.as_str(), "checks": rows }),
        )?;
    } else {
        output::data(&format!("{report}\n"))?;
    }
    if report.passed() { Ok(()) } else { Err(Error::new(Kind::Told(1), "")) }
}

fn script(build_root: &BuildRoot, board: &str) -> PathBuf {
    build_root.deploy().join(format!("release-{board}")).join("run")
}
