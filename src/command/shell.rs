//! `mk shell`: bash in a package's room, with everything loaded that its steps would see.

use std::io::IsTerminal;
use std::os::fd::AsFd;

use crate::cli::Target;
use crate::config::{Rooms, Settings};
use crate::error::{Error, Kind, Result};
use crate::event::{Event, Events};
use crate::job::{Job, Trouble, Workshop};
use crate::layout::room as inside;
use crate::making::FAILED_STEP;
use crate::names::Step;
use crate::room::{self, Program, Room, RoomServer};
use crate::script::quote;
use crate::step::{self, Places};

/// Whose room.
#[derive(Debug, clap::Args)]
pub struct Options {
    #[command(flatten)]
    target: Target,
    /// The package
    package: String,
    /// Start afresh even if the folders of a failed build were kept
    #[arg(long)]
    fresh: bool,
}

/// Read by the interactive bash after `mk_step=…` and before a `cd`; its arguments become those of the step.
///
/// The shell itself goes on after a command that fails. The step's functions do not: each runs in a bash of its own with
/// the options of a step, out of a trap, for `set -e` is off in what is called in a condition, as in `build && deploy`.
const START: &str = r#"
mk_report() { :; }
builtin source /mk/runtime/library.sh
builtin source /mk/prelude.sh
set -eE
shopt -s inherit_errexit
builtin source "$MK_RECIPE" || :
mk_options=$(shopt -po errexit errtrace; shopt -p inherit_errexit) || :
set +eE
mk_restore
mk_functions=$(declare -f prepare build deploy) || :
mk_run() (
	mk_words=("$@")
	trap '
		(
			trap - EXIT
			trap '\''printf "exit status %s: %s\n" "$?" "$BASH_COMMAND" >&2'\'' ERR
			builtin eval "$mk_functions"
			builtin eval "$mk_options"
			"${mk_words[@]}"
		)
		exit "$?"
	' EXIT
)
for mk_word in $(compgen -A function); do
	case "$mk_word" in
	prepare | build | deploy) builtin eval "$mk_word() { mk_run $mk_word \"\$@\"; }" ;;
	esac
done
unset -v mk_word
set -- "${MK_ARGUMENTS[@]}"
PS1="[mk $PKGNAME] \w\$ "
"#;

/// Carries out the command.
pub fn run(settings: &Settings, options: &Options) -> Result<()> {
    if settings.rooms == Rooms::Never {
        return Err(Error::new(Kind::Usage, "`mk shell` opens a room; it does not go with `--rooms never`"));
    }
    let store = settings.store()?;
    let server = RoomServer::start()?;
    server.check(&store.temporary()?.folder("probe")?)?;
    let only = [options.package.clone()];
    let loaded = crate::load::load(settings, &store, &options.target.board, &options.target.product, &only)?;
    let place = loaded.place(&options.package)?;
    let needs: Vec<String> = loaded.graph.packages[place].depends.iter().map(ToString::to_string).collect();
    if !needs.is_empty() {
        super::build::build_first(settings, &store, &options.target, &needs)?;
    }
    let ingredients = loaded.ingredients(true);
    let planner = super::build::planner(&loaded, &store, &ingredients);
    let plan = planner.plan()?;
    let workshop = Workshop::new(settings, &store, &loaded.places)?;
    let (events, receiver) = Events::channel();
    let job = Job::new(settings, &loaded, &planner, &store, &server, true, &workshop, &events, &plan);
    fs_err::create_dir_all(loaded.build_root.logs())?;
    let view = loaded.build_root.failed(&loaded.graph.packages[place].name);
    let kept = store.failed(&view);
    let unprepared = || kept.join(FAILED_STEP).exists();
    let mut goes_on = kept.is_dir() && !options.fresh;
    match job.ready(place, !(goes_on && unprepared())) {
        Err(Trouble::Failed(mut failure, _))
            if failure.step == Some(Step::Prepare) && failure.kept.is_some() =>
        {
            failure.hints.clear();
            crate::report::tell_failure(&failure, settings.workspace.root());
            goes_on = true;
        }
        ready => ready.map_err(|trouble| trouble.into_error(&loaded.graph.packages[place].name))?,
    }
    drop(receiver);
    let step = if goes_on && unprepared() { Step::Prepare } else { Step::Build };
    // Two rooms must not write into one overlay.
    let mut _lock = None;
    let work = if goes_on {
        _lock = store.enter_failed(&view)?;
        if _lock.is_none() {
            let text = format!(
                "the folders of the failed {step} of `{}` are open in another `mk shell`",
                options.package
            );
            return Err(Error::new(Kind::Host, text).hint("leave that one, or start afresh with `--fresh`"));
        }
        crate::report::note(&format!("in the folders of the failed {step}, kept in `{}`", kept.display()));
        kept
    } else {
        workshop.temporary.folder("shell")?
    };
    for part in ["report", "build", "deploy"] {
        fs_err::create_dir_all(work.join(part))?;
    }
    let recipe = &loaded.graph.packages[place];
    let reachable = planner.ingredients.reachable(recipe);
    let mounts =
        job.room_mounts(place, &work, &reachable).map_err(|trouble| trouble.into_error(&recipe.name))?;
    let places = Places::in_room();
    let cwd = if step == Step::Prepare { places.source(recipe) } else { places.build.clone() };
    let text = format!("mk_step={step}{START}cd {}\n", quote(&cwd.to_string_lossy()));
    fs_err::write(work.join("report").join("start.sh"), text)?;
    let mut env = step::environment(recipe, &places, settings.jobs);
    env.retain(|(name, _)| name != "MAKEFLAGS" && name != "TERM");
    env.push(("TERM".into(), settings.environment.get("TERM").map_or("dumb", String::as_str).into()));
    env.push(("MAKEFLAGS".into(), format!("-j{}", settings.jobs).into()));
    let start = format!("{}/start.sh", inside::REPORT);
    let terminal = std::io::stdin().is_terminal();
    let mut argv: Vec<std::ffi::OsString> = vec!["/bin/bash".into(), "--noprofile".into()];
    if terminal {
        argv.extend(["--rcfile".into(), start.into(), "-i".into()]);
    } else {
        // Commands come from a pipe: the same start, then those.
        argv.extend([
            "--norc".into(),
            "-c".into(),
            format!("builtin source {start}; builtin source /dev/stdin").into(),
        ]);
    }
    let program = Program { argv, env, cwd, log: work.join("shell.log"), stdout: None };
    room::clear(&mounts);
    let room = Room { mounts, programs: vec![program], network: false, terminal, limit: None };
    let (input, output, error) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let inherit = [(input.as_fd(), 0), (output.as_fd(), 1), (error.as_fd(), 2)];
    let watch = if terminal {
        None
    } else {
        Some(crate::signals::watch(workshop.cancel.clone(), std::sync::mpsc::channel().0)?)
    };
    let ran = server.run(&room, &inherit, &workshop.cancel)?;
    if let Some(signal) = watch.and_then(|watch| watch.heard()) {
        return Err(Error::new(Kind::Interrupted(signal), ""));
    }
    events.send(Event::RunEnded { success: ran.success(), elapsed: std::time::Duration::ZERO });
    match ran.exits.last().map(|exit| exit.status) {
        Some(room::Status::Code(0)) => Ok(()),
        Some(crate::room::Status::Code(code)) => Err(Error::new(Kind::Told(code), "")),
        _ => Err(Error::new(Kind::Told(1), "")),
    }
}
