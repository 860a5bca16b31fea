//! Boots a built system through the `run` script that `release-<board>` deploys: on the user's terminal, or
//! unattended through the checks of `mk run --test`. Knows the script's contract (`run [--accel kvm|tcg]
//! [--ssh-port PORT]`: serial console on standard input and output, ends when the guest powers off); knows
//! nothing of QEMU's options, boards or trees.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, IsTerminal, Read, Write};
use std::net::TcpListener;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::error::{Error, Kind, Result};

/// How the guest's processor is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accel {
    /// By the machine's own, through `/dev/kvm`.
    Kvm,
    /// By emulation: everywhere, but slower.
    Tcg,
}

impl Accel {
    /// KVM where `/dev/kvm` can be opened for reading and writing, else emulation.
    ///
    /// That it opens doesn't mean that a guest lives: both ways to boot start again with emulation when it
    /// doesn't.
    pub fn guess() -> Accel {
        let kvm = fs_err::OpenOptions::new().read(true).write(true).open("/dev/kvm");
        if kvm.is_ok() { Accel::Kvm } else { Accel::Tcg }
    }

    /// The word that the script takes.
    pub fn as_str(self) -> &'static str {
        match self {
            Accel::Kvm => "kvm",
            Accel::Tcg => "tcg",
        }
    }
}

/// A KVM guest that ends sooner than this, silent or with a failure, is blamed on KVM.
const EARLY: Duration = Duration::from_secs(10);
/// A KVM guest has said something by then.
const SILENT: Duration = Duration::from_secs(20);
/// What QEMU prints when KVM gives up; it doesn't end by itself then.
const KVM_ERROR: &[u8] = b"KVM internal error";
/// Said when emulation takes over.
const FALLBACK: &str = "the guest did not live under KVM: starting again with emulation (tcg)";
/// Patience with a prompt that may have been overwritten, or a shell that may have missed what was typed.
const NUDGE: Duration = Duration::from_secs(10);
/// How long a shell may take for an answer, or a guest to power off. Emulated processors are slow.
const ANSWER: Duration = Duration::from_secs(60);
/// How often to look whether the guest has ended, while it is silent.
const TICK: Duration = Duration::from_millis(100);

/// Boots with the console on the terminal, until the guest powers off. `accel`: `None` guesses and falls
/// back.
///
/// The script gets `more` arguments too. `note` is told when emulation takes over from KVM. Fails when the
/// script ends with a failure.
pub fn interactive(
    script: &Path,
    accel: Option<Accel>,
    more: &[OsString],
    note: &mut dyn FnMut(&str),
) -> Result<()> {
    let _terminal = Terminal::save();
    let mut accel_now = accel.unwrap_or_else(Accel::guess);
    loop {
        let watch = accel.is_none() && accel_now == Accel::Kvm;
        let Some(status) = on_terminal(script, accel_now, more, watch)? else {
            note(FALLBACK);
            accel_now = Accel::Tcg;
            continue;
        };
        return if status.success() { Ok(()) } else { Err(ended_badly(script, status)) };
    }
}

/// Runs a guest on the terminal. Under `watch` its outputs are passed on, and it's `None` when it died of
/// KVM.
fn on_terminal(script: &Path, accel: Accel, more: &[OsString], watch: bool) -> Result<Option<ExitStatus>> {
    // It stays in the terminal's process group: another one could not read from the terminal.
    let mut command = script_command(script, accel);
    command.args(more);
    if watch {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
    }
    let mut guest = Process::start(&mut command, Signal::SIGTERM, false)?;
    let begun = Instant::now();
    let mut life = Life::default();
    loop {
        let ended = match guest.listen(TICK)? {
            Heard::Bytes { bytes, error } => {
                life.heard(&bytes, error);
                // Where the terminal has gone, the guest's end comes soon.
                let _ = match error {
                    true => io::stderr().write_all(&bytes),
                    false => io::stdout().write_all(&bytes).and_then(|()| io::stdout().flush()),
                };
                None
            }
            Heard::Nothing => None,
            Heard::End(status) => Some(status),
        };
        if watch && life.killed_by_kvm(begun.elapsed(), ended) {
            return Ok(None);
        }
        if ended.is_some() {
            return Ok(ended);
        }
    }
}

/// What a guest's outputs tell of its health.
#[derive(Default)]
struct Life {
    /// Anything on the console.
    spoke: bool,
    /// QEMU said that KVM gave up.
    internal_error: bool,
    /// The last bytes, in case the message comes in two pieces.
    tail: Vec<u8>,
}

impl Life {
    fn heard(&mut self, bytes: &[u8], error: bool) {
        self.spoke |= !error;
        self.tail.extend_from_slice(bytes);
        self.internal_error |= find(&self.tail, KVM_ERROR).is_some();
        let surplus = self.tail.len().saturating_sub(KVM_ERROR.len());
        self.tail.drain(..surplus);
    }

    fn killed_by_kvm(&self, age: Duration, ended: Option<ExitStatus>) -> bool {
        let early = ended.is_some_and(|status| age < EARLY && (!self.spoke || !status.success()));
        self.internal_error || early || !self.spoke && age > SILENT
    }
}

/// What to check, and by which programs.
#[derive(Debug, Clone)]
pub struct Options {
    /// `None`: guess, and fall back from KVM to emulation.
    pub accel: Option<Accel>,
    /// Who logs in.
    pub user: String,
    /// Typed when the guest asks for one.
    pub password: String,
    /// Bound of the whole test.
    pub timeout: Duration,
    /// How long an address, and then ssh, is asked for again.
    pub patience: Duration,
    /// Takes everything that comes from the console; replaced.
    pub log: PathBuf,
    /// Host port that leads to the guest's 22; `None`: a free one.
    pub ssh_port: Option<u16>,
    /// More arguments for the script.
    pub more: Vec<OsString>,
    /// The `ssh` program.
    pub ssh: PathBuf,
    /// The `ssh-keygen` program.
    pub ssh_keygen: PathBuf,
}

impl Options {
    /// `root` with password `root`, 180 seconds in all, programs from PATH.
    pub fn new(log: impl Into<PathBuf>) -> Options {
        Options {
            accel: None,
            user: "root".into(),
            password: "root".into(),
            timeout: Duration::from_secs(180),
            patience: Duration::from_secs(60),
            log: log.into(),
            ssh_port: None,
            more: Vec::new(),
            ssh: "ssh".into(),
            ssh_keygen: "ssh-keygen".into(),
        }
    }
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// As it should be.
    Pass,
    /// Not as it should be.
    Fail,
    /// Not tried, since something that it needs failed.
    Skipped,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// What was checked.
    pub name: &'static str,
    /// How it ended.
    pub outcome: Outcome,
    /// What was seen, or awaited in vain.
    pub seen: String,
}

/// What a test found.
#[derive(Debug, Clone)]
pub struct Report {
    /// In the order in which they were tried.
    pub rows: Vec<Row>,
    /// From the start of the script until `login:`.
    pub boot: Option<Duration>,
    /// What the guest ran on in the end.
    pub accel: Accel,
    /// Whether KVM was tried first, in vain.
    pub fell_back: bool,
    /// Of the whole test.
    pub elapsed: Duration,
    /// The last 20 lines of the console.
    pub tail: Vec<String>,
    /// Everything from the console.
    pub log: PathBuf,
}

impl Report {
    /// Whether every check passed.
    pub fn passed(&self) -> bool {
        self.rows.iter().all(|row| row.outcome == Outcome::Pass)
    }
}

impl fmt::Display for Report {
    /// A line per check, then the verdict; the console's end when something failed. No line feed at the end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.fell_back {
            writeln!(f, "note: {FALLBACK}")?;
        }
        let width = self.rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
        for row in &self.rows {
            let word = match row.outcome {
                Outcome::Pass => "pass",
                Outcome::Fail => "FAIL",
                Outcome::Skipped => "skip",
            };
            writeln!(f, "{word}  {:width$}  {}", row.name, row.seen)?;
        }
        let boot = match self.boot {
            Some(time) => format!("login after {:.1} s", time.as_secs_f64()),
            None => "no login".into(),
        };
        if !self.passed() {
            writeln!(f, "the console's last lines (all of it: {}):", self.log.display())?;
            for line in &self.tail {
                writeln!(f, "  {line}")?;
            }
        }
        let verdict = if self.passed() { "passed" } else { "failed" };
        let (accel, elapsed) = (self.accel.as_str(), self.elapsed.as_secs_f64());
        write!(f, "{verdict}: {boot}, {elapsed:.1} s in all, {accel}")
    }
}

/// The checks, in their order.
const ROWS: [&str; 7] = ["boot", "login", "uname -a", "release", "address", "ssh", "power off"];

/// Boots, logs in on the console, looks around, comes in by ssh, powers off; bounded by `options.timeout`.
///
/// A system that misbehaves is a report with failed rows, no error. Fails when the machine cannot do the
/// test: the script or the ssh programs cannot be started, the log cannot be written. No guest outlives the
/// call.
pub fn test(script: &Path, options: &Options) -> Result<Report> {
    let begun = Instant::now();
    let key = Key::make(&options.ssh_keygen)?;
    let port = match options.ssh_port {
        Some(port) => port,
        None => free_port()?,
    };
    let mut accel = options.accel.unwrap_or_else(Accel::guess);
    let deadline = begun + options.timeout;
    let mut fell_back = false;
    let mut log = fs_err::File::create(&options.log)?;
    loop {
        let may_fall_back = options.accel.is_none() && accel == Accel::Kvm;
        let console = Console::start(script, accel, port, &options.more, log.try_clone()?)?;
        let mut visit = Visit { console, options, key: &key, port, deadline, rows: Vec::new(), boot: None };
        let end = visit.go(may_fall_back);
        if let Err(Trouble::Kvm) = end {
            drop(visit);
            writeln!(log, "\n[mk: {FALLBACK}]")?;
            (accel, fell_back) = (Accel::Tcg, true);
            continue;
        }
        let Visit { console, mut rows, boot, .. } = visit;
        match end {
            Ok(()) => {}
            Err(Trouble::Row(seen)) => {
                rows.push(Row { name: ROWS[rows.len()], outcome: Outcome::Fail, seen });
                // Left out rows are shown, so that nobody takes them for passed.
                for name in &ROWS[rows.len()..] {
                    rows.push(Row { name, outcome: Outcome::Skipped, seen: String::new() });
                }
            }
            Err(Trouble::Error(error)) => return Err(error),
            Err(Trouble::Kvm) => {}
        }
        let tail = console.tail();
        let elapsed = begun.elapsed();
        return Ok(Report { rows, boot, accel, fell_back, elapsed, tail, log: options.log.clone() });
    }
}

/// Why a visit ends early.
enum Trouble {
    /// The check that is being made failed, with what was seen, and the following ones make no sense.
    Row(String),
    /// The guest died of KVM.
    Kvm,
    /// The machine's fault.
    Error(Error),
}

/// The result of a check.
type Checked<T = ()> = std::result::Result<T, Trouble>;

impl From<Error> for Trouble {
    fn from(error: Error) -> Trouble {
        Trouble::Error(error)
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Trouble {
        Trouble::Error(error.into())
    }
}

/// One guest on its way through the checks.
struct Visit<'a> {
    console: Console,
    options: &'a Options,
    key: &'a Key,
    port: u16,
    deadline: Instant,
    rows: Vec<Row>,
    boot: Option<Duration>,
}

impl Visit<'_> {
    fn go(&mut self, may_fall_back: bool) -> Checked {
        self.wait_for_boot(may_fall_back)?;
        self.log_in()?;

        let (status, text) = self.shell("uname -a")?;
        self.row(status == 0 && text.contains("Linux"), &text);
        let (status, text) = self.shell("cat /etc/pygos-release")?;
        self.row(status == 0 && !text.is_empty(), &text);

        let address = self.address()?;
        match &address {
            Some(address) => self.row(true, address),
            None => self.row(false, "no IPv4 address on `ip -4 addr show` but the loopback's"),
        }
        if address.is_some() {
            self.come_in_by_ssh()?;
        } else {
            self.rows.push(Row {
                name: ROWS[self.rows.len()],
                outcome: Outcome::Skipped,
                seen: String::new(),
            });
        }
        self.power_off()
    }

    fn row(&mut self, good: bool, seen: &str) {
        let outcome = if good { Outcome::Pass } else { Outcome::Fail };
        let seen = readable(seen);
        let lines: Vec<_> = seen.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        self.rows.push(Row { name: ROWS[self.rows.len()], outcome, seen: lines.join("; ") });
    }

    /// The end of a wait of at most `limit`, within the whole test.
    fn until(&self, limit: Duration) -> Instant {
        self.deadline.min(Instant::now() + limit)
    }

    fn wait_for_boot(&mut self, may_fall_back: bool) -> Checked {
        let console = &mut self.console;
        let mut searched: usize = 0;
        loop {
            if find(&console.text[searched.saturating_sub(6)..], b"login:").is_some() {
                let boot = console.begun.elapsed();
                self.boot = Some(boot);
                self.row(true, &format!("`login:` after {:.1} s", boot.as_secs_f64()));
                return Ok(());
            }
            searched = console.text.len();
            if may_fall_back && console.life.killed_by_kvm(console.begun.elapsed(), console.ended) {
                return Err(Trouble::Kvm);
            }
            console.more("`login:`", self.deadline)?;
        }
    }

    fn log_in(&mut self) -> Checked {
        let (user, password) = (&self.options.user, &self.options.password);
        self.console.send(user)?;
        let deadline = self.until(ANSWER);
        let mut nudge = Instant::now() + NUDGE;
        loop {
            let text = self.console.new_text();
            // First, since what comes after it may look like a shell's prompt.
            if find(text, b"incorrect").is_some() {
                return Err(Trouble::Row(format!("`{user}` was refused")));
            } else if self.console.at_prompt() {
                break;
            } else if find(text, b"assword:").is_some() {
                self.console.send(password)?;
            } else if Instant::now() > nudge {
                // A message of the kernel may have come after the prompt: ask for another one.
                self.console.send("")?;
                nudge = Instant::now() + NUDGE;
            }
            self.console.more("shell prompt", deadline)?;
        }
        // A shell that answers this is ready, and the kernel's messages stay out of the further answers. What
        // was typed while a shell was starting may be lost, so it is asked again.
        let quiet = "dmesg -n 1 2>/dev/null";
        let mut attempts = 0;
        while let Err(trouble) = self.shell_within(quiet, NUDGE) {
            attempts += 1;
            if attempts == 5 || self.console.ended.is_some() || !matches!(trouble, Trouble::Row(_)) {
                return Err(trouble);
            }
        }
        self.row(true, &format!("`{user}` has a shell"));
        Ok(())
    }

    /// Runs a command in the guest's shell; its status and what it printed.
    fn shell(&mut self, command: &str) -> Checked<(i32, String)> {
        self.shell_within(command, ANSWER)
    }

    fn shell_within(&mut self, command: &str, limit: Duration) -> Checked<(i32, String)> {
        let deadline = self.until(limit);
        self.console.serial += 1;
        let n = self.console.serial;
        // What is typed is echoed, too, but only the shell turns `40+2` into 42.
        let (begin, end) = (format!("mk-42-{n}-begin"), format!("mk-42-{n}-end-"));
        self.console
            .send(&format!("echo mk-$((40+2))-{n}-begin; {command}; echo mk-$((40+2))-{n}-end-$?."))?;
        loop {
            let text = String::from_utf8_lossy(self.console.new_text()).into_owned();
            let answer = text.split_once(&begin).and_then(|(_, rest)| rest.split_once(&end));
            if let Some((output, rest)) = answer {
                if let Some((status, _)) = rest.split_once('.') {
                    return Ok((status.trim().parse().unwrap_or(-1), readable(output).trim().to_owned()));
                }
            }
            self.console.more(&format!("answer to `{command}`"), deadline)?;
        }
    }

    /// The guest's first IPv4 address beside the loopback's.
    fn address(&mut self) -> Checked<Option<String>> {
        let deadline = self.until(self.options.patience);
        loop {
            let (_, text) = self.shell("ip -4 addr show")?;
            let words: Vec<_> = text.split_whitespace().collect();
            let of = |pair: &[&str]| {
                (pair[0] == "inet" && !pair[1].starts_with("127.")).then(|| pair[1].to_owned())
            };
            if let Some(address) = words.windows(2).find_map(of) {
                return Ok(Some(address));
            }
            if Instant::now() > deadline {
                return Ok(None);
            }
            self.console.listen_for(Duration::from_millis(500))?;
        }
    }

    fn come_in_by_ssh(&mut self) -> Checked {
        let add = format!(
            "mkdir -p ~/.ssh && chmod 700 ~/.ssh && cd ~/.ssh && \
             echo '{}' >>authorized_keys && chmod 600 authorized_keys",
            self.key.public
        );
        let (status, text) = self.shell(&add)?;
        if status != 0 {
            self.row(false, &format!("the key could not be added: {text}"));
            return Ok(());
        }
        let deadline = self.until(self.options.patience);
        let mut command = Command::new(&self.options.ssh);
        command.args(["-F", "/dev/null", "-i"]).arg(self.key.private()).args(["-p", &self.port.to_string()]);
        for option in [
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "BatchMode=yes",
            "IdentitiesOnly=yes",
            "LogLevel=ERROR",
            "ConnectTimeout=10",
        ] {
            command.args(["-o", option]);
        }
        command.arg(format!("{}@127.0.0.1", self.options.user)).arg("echo ssh-$((6*7)); uname -r");
        loop {
            let limit = self.deadline.saturating_duration_since(Instant::now()).min(ANSWER / 2);
            let (success, text) = bounded(&mut command, limit)?;
            if success && text.contains("ssh-42") {
                self.row(true, &text.replace("ssh-42", "").trim().replace('\n', "; "));
                return Ok(());
            }
            if Instant::now() > deadline || self.console.ended.is_some() {
                self.row(false, &format!("127.0.0.1:{}: {}", self.port, text.trim()));
                return Ok(());
            }
            self.console.listen_for(Duration::from_secs(1))?;
        }
    }

    fn power_off(&mut self) -> Checked {
        self.console.send("poweroff")?;
        let deadline = self.until(ANSWER);
        while self.console.ended.is_none() {
            self.console.more("end of QEMU after `poweroff`", deadline)?;
        }
        match self.console.ended {
            Some(status) if !status.success() => {
                self.row(false, &format!("QEMU ended with {}", in_words(status)))
            }
            _ => self.row(true, "clean"),
        }
        Ok(())
    }
}

/// A running guest and all that its console said.
struct Console {
    guest: Process,
    input: Option<ChildStdin>,
    log: fs_err::File,
    begun: Instant,
    /// Everything so far.
    text: Vec<u8>,
    /// Where in `text` the last sent line's answer begins.
    mark: usize,
    life: Life,
    ended: Option<ExitStatus>,
    /// Numbers the commands, so that no answer is taken for another's.
    serial: u32,
}

impl Console {
    fn start(
        script: &Path,
        accel: Accel,
        port: u16,
        more: &[OsString],
        log: fs_err::File,
    ) -> Result<Console> {
        let mut command = script_command(script, accel);
        command.args(["--ssh-port", &port.to_string()]).args(more);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let begun = Instant::now();
        let mut guest = Process::start(&mut command, Signal::SIGKILL, true)?;
        let input = guest.child.stdin.take();
        let (text, life) = (Vec::new(), Life::default());
        Ok(Console { guest, input, log, begun, text, mark: 0, life, ended: None, serial: 0 })
    }

    /// Types a line; what follows is its answer.
    fn send(&mut self, line: &str) -> Result<()> {
        self.mark = self.text.len();
        let Some(input) = &mut self.input else { return Ok(()) };
        let typed = input.write_all(format!("{line}\n").as_bytes()).and_then(|()| input.flush());
        // A guest that has ended reads nothing; the wait for its answer says so.
        match typed {
            Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(e.into()),
            _ => Ok(()),
        }
    }

    fn new_text(&self) -> &[u8] {
        &self.text[self.mark..]
    }

    /// Whether the last line, not ended, looks like a shell's prompt.
    fn at_prompt(&self) -> bool {
        let text = readable(&String::from_utf8_lossy(self.new_text()));
        let line = text.rsplit('\n').next().unwrap_or_default().trim_end();
        line.ends_with(['#', '$', '>', '%']) && !line.is_empty()
    }

    /// Waits for more of the console; fails, naming what was awaited, when the guest ended or the time is up.
    fn more(&mut self, awaited: &str, deadline: Instant) -> Checked {
        if let Some(status) = self.ended {
            let how = in_words(status);
            return Err(Trouble::Row(format!("QEMU ended ({how}) while {awaited} was awaited")));
        }
        if Instant::now() > deadline {
            let waited = self.begun.elapsed().as_secs_f64();
            return Err(Trouble::Row(format!("no {awaited} {waited:.0} s after the start")));
        }
        self.listen_for(TICK)?;
        Ok(())
    }

    /// Takes what comes within `limit`; returns early after something came or when the guest has ended.
    fn listen_for(&mut self, limit: Duration) -> Result<()> {
        if self.ended.is_some() {
            return Ok(());
        }
        match self.guest.listen(limit)? {
            Heard::Bytes { bytes, error } => {
                self.log.write_all(&bytes)?;
                self.life.heard(&bytes, error);
                self.text.extend_from_slice(&bytes);
            }
            Heard::Nothing => {}
            Heard::End(status) => self.ended = Some(status),
        }
        Ok(())
    }

    fn tail(&self) -> Vec<String> {
        let text = readable(&String::from_utf8_lossy(&self.text));
        let lines: Vec<_> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
        lines[lines.len().saturating_sub(20)..].iter().map(|&line| line.to_owned()).collect()
    }
}

/// A child process that doesn't outlive its owner, nor does its process group where it leads one.
struct Process {
    child: Child,
    /// It leads a process group of its own.
    group: bool,
    /// Bytes of its outputs, with whether they come from standard error.
    output: Receiver<(Vec<u8>, bool)>,
    ended: Option<ExitStatus>,
}

/// What `Process::listen` heard.
enum Heard {
    /// Bytes of an output.
    Bytes { bytes: Vec<u8>, error: bool },
    /// Nothing, for as long as was asked.
    Nothing,
    /// The process has ended and everything that it said was heard.
    End(ExitStatus),
}

impl Process {
    /// Starts a program; its piped outputs are listened to. It gets `signal` when this thread ends before it.
    fn start(command: &mut Command, signal: Signal, group: bool) -> Result<Process> {
        die_with_parent(command, signal);
        if group {
            command.process_group(0);
        }
        let program = Path::new(command.get_program()).to_owned();
        let mut child = command.spawn().map_err(|e| {
            Error::new(Kind::Host, format!("`{}` could not be started: {e}", program.display()))
        })?;
        let (sender, output) = channel();
        if let Some(out) = child.stdout.take() {
            pass_on(out, false, sender.clone());
        }
        if let Some(err) = child.stderr.take() {
            pass_on(err, true, sender);
        }
        Ok(Process { child, group, output, ended: None })
    }

    /// Waits at most `limit` for something to be said. That it has ended is noticed when it is silent.
    fn listen(&mut self, limit: Duration) -> Result<Heard> {
        let heard = |(bytes, error)| Ok(Heard::Bytes { bytes, error });
        match self.output.recv_timeout(limit) {
            Ok(chunk) => return heard(chunk),
            // It closed its outputs, but may live on.
            Err(RecvTimeoutError::Disconnected) if self.end()?.is_none() => {
                std::thread::sleep(limit.min(TICK))
            }
            Err(_) => {}
        }
        let Some(status) = self.end()? else { return Ok(Heard::Nothing) };
        // Its last words may still be on their way; a stranger that holds its outputs is not waited for.
        match self.output.recv_timeout(TICK) {
            Ok(chunk) => heard(chunk),
            Err(_) => Ok(Heard::End(status)),
        }
    }

    /// How it ended, if it has; then the rest of its group is gone, too.
    fn end(&mut self) -> Result<Option<ExitStatus>> {
        use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
        if self.ended.is_none() {
            // Looked at before it is waited for: until then its number belongs to nobody else.
            let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
            let state =
                waitid(Id::Pid(Pid::from_raw(self.child.id() as i32)), flags).map_err(io::Error::from)?;
            if state != WaitStatus::StillAlive {
                self.ended = Some(self.reap()?);
            }
        }
        Ok(self.ended)
    }

    /// Kills what is left, waits, and says how it ended.
    fn reap(&mut self) -> io::Result<ExitStatus> {
        // What has ended already cannot be killed.
        if self.group {
            let _ = killpg(Pid::from_raw(self.child.id() as i32), Signal::SIGKILL);
        }
        let _ = self.child.kill();
        self.child.wait()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended.is_none() {
            let _ = self.reap();
        }
    }
}

/// Sends all that `source` yields, from a thread that ends with it or when nobody listens any more.
fn pass_on(mut source: impl Read + Send + 'static, error: bool, sender: Sender<(Vec<u8>, bool)>) {
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        loop {
            match source.read(&mut buffer) {
                Ok(n) if n > 0 => {
                    if sender.send((buffer[..n].to_vec(), error)).is_err() {
                        return;
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                _ => return,
            }
        }
    });
}

fn script_command(script: &Path, accel: Accel) -> Command {
    let mut command = Command::new(script);
    command.args(["--accel", accel.as_str()]);
    command
}

/// Has the kernel send `signal` to the child when the thread that starts it ends.
///
/// The script execs QEMU, so it is QEMU that gets it. SIGTERM lets QEMU put the terminal in order.
fn die_with_parent(command: &mut Command, signal: Signal) {
    let parent = nix::unistd::getpid();
    // SAFETY: prctl and getppid are system calls that may be made between fork and exec; nothing is
    // allocated.
    unsafe {
        command.pre_exec(move || {
            nix::sys::prctl::set_pdeathsig(signal)?;
            if nix::unistd::getppid() != parent {
                return Err(io::Error::from_raw_os_error(libc::ESRCH));
            }
            Ok(())
        });
    }
}

/// The terminal's settings, put back when dropped: QEMU may be killed before it does so itself.
struct Terminal(Option<nix::sys::termios::Termios>);

impl Terminal {
    fn save() -> Terminal {
        let stdin = io::stdin();
        Terminal(if stdin.is_terminal() { nix::sys::termios::tcgetattr(&stdin).ok() } else { None })
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(settings) = &self.0 {
            // When the terminal has gone, nobody misses its settings.
            let _ = nix::sys::termios::tcsetattr(io::stdin(), nix::sys::termios::SetArg::TCSADRAIN, settings);
        }
    }
}

/// A key pair that lives as long as the test.
struct Key {
    folder: tempfile::TempDir,
    public: String,
}

impl Key {
    fn make(ssh_keygen: &Path) -> Result<Key> {
        let folder = tempfile::tempdir()?;
        let private = folder.path().join("key");
        let mut command = Command::new(ssh_keygen);
        command.args(["-q", "-t", "ed25519", "-N", "", "-C", "mk", "-f"]).arg(&private);
        let (success, text) = bounded(&mut command, Duration::from_secs(30))?;
        if !success {
            let program = ssh_keygen.display();
            return Err(Error::new(Kind::Host, format!("`{program}` made no key: {}", text.trim())));
        }
        let public = fs_err::read_to_string(folder.path().join("key.pub"))?.trim().to_owned();
        Ok(Key { folder, public })
    }

    fn private(&self) -> PathBuf {
        self.folder.path().join("key")
    }
}

/// Runs a program without input for at most `limit`; whether it succeeded, and both its outputs.
fn bounded(command: &mut Command, limit: Duration) -> Result<(bool, String)> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let deadline = Instant::now() + limit;
    let mut process = Process::start(command, Signal::SIGKILL, true)
        .map_err(|e| e.hint("install the package `openssh-client`"))?;
    let mut text = Vec::new();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match process.listen(left.min(TICK))? {
            Heard::Bytes { bytes, .. } => text.extend_from_slice(&bytes),
            Heard::End(status) => return Ok((status.success(), String::from_utf8_lossy(&text).into_owned())),
            Heard::Nothing if left.is_zero() => {
                text.extend_from_slice(format!("\nno end within {} s", limit.as_secs()).as_bytes());
                return Ok((false, String::from_utf8_lossy(&text).into_owned()));
            }
            Heard::Nothing => {}
        }
    }
}

/// A port of the loopback that is free now.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

fn ended_badly(script: &Path, status: ExitStatus) -> Error {
    Error::new(Kind::Host, format!("`{}` ended with {}", script.display(), in_words(status)))
}

fn in_words(status: ExitStatus) -> String {
    use crate::event::Exit;
    match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Code(code).to_string(),
        (_, Some(signal)) => Exit::Signal(signal).to_string(),
        _ => status.to_string(),
    }
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

/// The text without terminal control sequences and other characters that would move a cursor.
fn readable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => {
                // `ESC [ parameters letter`, or `ESC` and one character.
                if chars.next() == Some('[') {
                    while chars.next().is_some_and(|c| !('@'..='~').contains(&c)) {}
                }
            }
            '\n' | '\t' => out.push(c),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_sequences_do_not_reach_the_report() {
        assert_eq!(readable("\u{1b}c\u{1b}[?7l\u{1b}[2J\u{1b}[0mSeaBIOS\r\nok\u{7}\u{1b}["), "SeaBIOS\nok");
    }

    #[test]
    fn the_message_of_kvm_is_heard_in_two_pieces() {
        let mut life = Life::default();
        for bytes in [&b"...KVM inter"[..], b"nal error. Suberror: 1"] {
            life.heard(bytes, true);
        }
        assert!(life.killed_by_kvm(Duration::ZERO, None));
    }

    #[test]
    fn an_early_end_is_blamed_on_kvm_only_when_silent_or_failed() {
        let age = Duration::from_secs(2);
        let (clean, failed) = (ExitStatus::from_raw(0), ExitStatus::from_raw(256));
        let silent = Life::default();
        assert!(silent.killed_by_kvm(age, Some(clean)));
        assert!(!silent.killed_by_kvm(age, None));
        let spoke = Life { spoke: true, ..Life::default() };
        assert!(spoke.killed_by_kvm(age, Some(failed)));
        assert!(!spoke.killed_by_kvm(age, Some(clean)));
        assert!(!spoke.killed_by_kvm(EARLY, Some(failed)));
    }
}
