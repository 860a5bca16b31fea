//! The program: hands its arguments to the library and says how it ended.

use std::io::Write;

use mk::error::Kind;

fn main() {
    env_logger::Builder::from_env(env_logger::Env::new().filter("MK_LOG")).init();
    let Err(error) = mk::cli::run(std::env::args_os().collect()) else { return };
    if !error.message.is_empty() {
        // Nobody is left to tell when standard error is gone.
        let _ = writeln!(std::io::stderr(), "{error}");
    }
    if let Kind::Interrupted(signal) = error.kind {
        // The caller sees that a signal ended this, as it would without a handler.
        let _ = signal_hook::low_level::emulate_default_handler(signal);
    }
    std::process::exit(error.kind.exit_code());
}
