//! Booting, with scripts in place of QEMU that behave on their console as a guest does, well or badly.

// Helpers of tests may panic as tests do.
#![allow(clippy::unwrap_used)]

mod harness;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mk::boot::{self, Accel, Options, Outcome, Report};

/// A guest that does all that it should; pieces are replaced by name.
///
/// It logs in with a password, has a shell that runs what it is told in a home of its own, and powers off.
const GUEST: &str = r#"#!/bin/bash
accel=$2 port=$4 here=$(dirname "$0")
echo "$accel" >> "$here/started"
echo "$*" > "$here/arguments"
echo $$ > "$here/pid"
@early@
printf '\033c\033[2JBooting...\r\n'
@booting@
printf '\r\n(none) login: '
read -r user
printf '%s\r\n' "$user"
@password@
@motd@
export HOME=$here/home
mkdir -p "$HOME"
dmesg() { :; }
uname() { if [ "$1" = -a ]; then echo "Linux guest 6.1.0 x86_64"; else echo 6.1.0; fi; }
cat() { if [ "$1" = /etc/pygos-release ]; then @release@; else command cat "$@"; fi; }
asked=0
ip() {
	asked=$((asked + 1))
	echo "1: lo: <LOOPBACK,UP> mtu 65536"
	echo "    inet 127.0.0.1/8 scope host lo"
	@address@
}
poweroff() { echo "The system is going down"; @poweroff@; }
while printf '~ # ' && read -r line; do
	printf '%s\r\n' "$line"
	eval "$line"
done
"#;

/// An `ssh` that goes in where the public key was added, as `sshd` would let it.
const SSH: &str = r#"#!/bin/bash
here=$(dirname "$0")
printf '%s\n' "$@" > "$here/ssh-arguments"
while [ "$1" != -i ]; do shift; done
grep -qxF "$(cat "$2.pub")" "$here/home/.ssh/authorized_keys" || { echo "Permission denied" >&2; exit 255; }
[ "$(stat -c %a "$here/home/.ssh/authorized_keys")" = 600 ] || exit 255
bash -c "${*: -1}"
"#;

struct Fake {
    folder: tempfile::TempDir,
    pieces: Vec<(&'static str, &'static str)>,
}

impl Fake {
    /// A guest that behaves, except for these pieces.
    fn guest(changed: &[(&'static str, &'static str)]) -> Fake {
        let good = [
            ("early", ":"),
            ("booting", ":"),
            (
                "password",
                "printf 'Password: '; read -r word; [ \"$word\" = root ] || { echo; echo 'Login incorrect'; }",
            ),
            ("motd", "printf 'Welcome to # the guest\\r\\n'"),
            ("release", "echo 'Pygos v1'"),
            ("address", "[ $asked -lt 2 ] || echo '    inet 10.0.2.15/24 brd 10.0.2.255 scope global eth0'"),
            ("poweroff", "exit 0"),
        ];
        let new = |name| changed.iter().find(|(known, _)| *known == name).map(|(_, text)| *text);
        let pieces = good.into_iter().map(|(name, text)| (name, new(name).unwrap_or(text))).collect();
        Fake { folder: tempfile::tempdir().unwrap(), pieces }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs_err::read_to_string(self.path(name)).unwrap()
    }

    fn program(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs_err::write(&path, text).unwrap();
        fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn script(&self) -> PathBuf {
        let fill = |text: String, (name, piece): &(&str, &str)| text.replace(&format!("@{name}@"), piece);
        let text = self.pieces.iter().fold(GUEST.to_owned(), fill);
        assert!(!text.contains("\n@"), "{text}");
        self.program("run", &text)
    }

    fn options(&self) -> Options {
        Options {
            ssh: self.program("ssh", SSH),
            accel: Some(Accel::Tcg),
            ..Options::new(self.path("console.log"))
        }
    }

    fn test(&self, change: impl FnOnce(&mut Options)) -> Report {
        let mut options = self.options();
        change(&mut options);
        boot::test(&self.script(), &options).unwrap()
    }

    /// Whether the process that stood for QEMU is gone, and was waited for.
    fn is_gone(&self) -> bool {
        !Path::new("/proc").join(self.read("pid").trim()).exists()
    }
}

fn row<'a>(report: &'a Report, name: &str) -> (Outcome, &'a str) {
    let row = report.rows.iter().find(|row| row.name == name).unwrap();
    (row.outcome, &row.seen)
}

#[test]
fn a_good_guest_passes_every_check() {
    let fake = Fake::guest(&[]);
    let report = fake.test(|options| options.ssh_port = Some(2022));
    assert!(report.passed(), "{report}");
    let seen: Vec<_> = report.rows.iter().skip(1).map(|row| (row.name, row.seen.as_str())).collect();
    let release = String::from_utf8(Command::new("uname").arg("-r").output().unwrap().stdout).unwrap();
    assert_eq!(
        seen,
        [
            ("login", "`root` has a shell"),
            ("uname -a", "Linux guest 6.1.0 x86_64"),
            ("release", "Pygos v1"),
            ("address", "10.0.2.15/24"),
            ("ssh", release.trim()),
            ("power off", "clean"),
        ]
    );
    let last = report.to_string().lines().last().unwrap().to_owned();
    assert!(last.starts_with("passed: login after ") && last.ends_with(" s in all, tcg"), "{last}");
    assert!(fake.read("console.log").contains("(none) login: "));
    let arguments = fake.read("ssh-arguments");
    assert!(arguments.contains("-p\n2022\n") && arguments.contains("BatchMode=yes"), "{arguments}");
    assert!(fake.is_gone());
}

#[test]
fn more_arguments_reach_the_script_after_its_own() {
    let fake = Fake::guest(&[]);
    assert!(fake.test(|options| options.more = ["--data".into(), "a file".into()].into()).passed());
    let arguments = fake.read("arguments");
    assert!(
        arguments.starts_with("--accel tcg --ssh-port ") && arguments.ends_with(" --data a file\n"),
        "{arguments}"
    );
    let fake = Fake::guest(&[("early", "exit 0")]);
    boot::interactive(&fake.script(), Some(Accel::Tcg), &["--help".into()], &mut |_| ()).unwrap();
    assert_eq!(fake.read("arguments"), "--accel tcg --help\n");
}

#[test]
fn a_guest_without_a_password_passes_too() {
    assert!(Fake::guest(&[("password", ":")]).test(|_| ()).passed());
}

#[test]
fn a_refused_login_is_said_and_the_other_checks_are_left_out() {
    let fake = Fake::guest(&[]);
    let report = fake.test(|options| options.password = "wrong".into());
    assert_eq!(row(&report, "boot").0, Outcome::Pass);
    assert_eq!(row(&report, "login"), (Outcome::Fail, "`root` was refused"));
    assert!(report.rows[2..].iter().all(|row| row.outcome == Outcome::Skipped));
    assert_eq!(report.rows.len(), 7);
    assert!(fake.is_gone());
}

#[test]
fn a_guest_that_hangs_is_ended_and_its_last_words_are_shown() {
    let fake = Fake::guest(&[(
        "booting",
        "for n in {1..30}; do echo \"line $n\"; done; read -r _ < <(exec sleep 1000)",
    )]);
    let report = fake.test(|options| options.timeout = Duration::from_secs(2));
    let (outcome, seen) = row(&report, "boot");
    assert!(outcome == Outcome::Fail && seen.starts_with("no `login:` 2 s after the start"), "{seen}");
    assert_eq!(report.tail.len(), 20);
    let text = report.to_string();
    assert!(
        text.contains("\n  line 11\n") && text.contains("\n  line 30\n") && !text.contains("line 10\n"),
        "{text}"
    );
    assert!(text.contains("console.log") && text.contains("failed: no login"), "{text}");
    assert!(fake.is_gone());
}

#[test]
fn a_guest_that_dies_is_said_to_have_died() {
    let fake = Fake::guest(&[("booting", "echo 'Kernel panic - not syncing'; exit 3")]);
    let report = fake.test(|_| ());
    assert_eq!(row(&report, "boot").1, "QEMU ended (exit status 3) while `login:` was awaited");
    assert_eq!(report.tail.last().unwrap(), "Kernel panic - not syncing");
    let fake = Fake::guest(&[("release", "kill -9 $$")]);
    let report = fake.test(|_| ());
    let awaited = "QEMU ended (signal SIGKILL) while answer to `cat /etc/pygos-release` was awaited";
    assert_eq!(row(&report, "release"), (Outcome::Fail, awaited));
}

#[test]
fn a_failed_check_does_not_keep_the_others_from_being_made() {
    let fake = Fake::guest(&[("release", "echo 'cat: no such file'; return 1")]);
    let report = fake.test(|_| ());
    assert_eq!(row(&report, "release"), (Outcome::Fail, "cat: no such file"));
    assert_eq!(row(&report, "ssh").0, Outcome::Pass);
    assert!(!report.passed());
    assert!(report.to_string().contains("\nFAIL  release    cat: no such file\n"), "{report}");
}

#[test]
fn without_an_address_ssh_is_not_tried_but_the_guest_is_powered_off() {
    let fake = Fake::guest(&[("address", ":"), ("poweroff", "exit 4")]);
    let report = fake.test(|options| options.patience = Duration::ZERO);
    assert_eq!(row(&report, "address").0, Outcome::Fail);
    assert_eq!(row(&report, "ssh").0, Outcome::Skipped);
    assert_eq!(row(&report, "power off"), (Outcome::Fail, "QEMU ended with exit status 4"));
}

#[test]
fn an_ssh_that_does_not_get_in_shows_why() {
    let fake = Fake::guest(&[("address", "echo inet 10.0.2.15/24")]);
    let ssh = fake.program("refused", "#!/bin/sh\necho 'Connection refused' >&2; exit 255\n");
    let report = fake.test(|options| {
        options.ssh = ssh;
        options.patience = Duration::ZERO;
        options.ssh_port = Some(2022);
    });
    assert_eq!(row(&report, "ssh"), (Outcome::Fail, "127.0.0.1:2022: Connection refused"));
}

#[test]
fn a_missing_program_is_an_error_with_its_package() {
    let fake = Fake::guest(&[]);
    let options = Options { ssh_keygen: "/nowhere/ssh-keygen".into(), ..fake.options() };
    let error = boot::test(&fake.script(), &options).unwrap_err().to_string();
    assert!(error.starts_with("error: `/nowhere/ssh-keygen` could not be started: "), "{error}");
    assert!(error.ends_with("hint: install the package `openssh-client`"), "{error}");
    let error = boot::test(Path::new("/nowhere/run"), &fake.options()).unwrap_err().to_string();
    assert!(error.starts_with("error: `/nowhere/run` could not be started: "), "{error}");
}

#[test]
fn a_test_needs_no_folder_of_logs_and_no_endless_time() {
    let tree = harness::Tree::new().package(
        "release-tiny",
        r#"
        deploy() {
            printf '#!/bin/sh\necho booting; exit 3\n' >"$2/run"
            chmod +x "$2/run"
        }
    "#,
    );
    tree.builds("");
    tree.mk("-q clean --logs");
    assert!(!tree.built("log").exists());
    tree.mk("run tiny demo --test --accel tcg").has("FAIL  boot").has("status 1");
    assert!(fs_err::read_to_string(tree.built("log/console.log")).unwrap().contains("booting"));
    for seconds in ["0", "86401", "18446744073709551615"] {
        tree.mk(&format!("run tiny demo --test --timeout {seconds}")).has("1..=86400").has("status 2");
    }
}

/// What a guest does that dies of KVM: at once; with a word on the console; or in a way in which QEMU stays.
const DEATHS: [&str; 3] = [
    "[ $accel = tcg ] || { echo 'Could not access KVM kernel module' >&2; exit 1; }",
    "[ $accel = tcg ] || { echo 'SeaBIOS'; exit 1; }",
    "[ $accel = tcg ] || { echo 'SeaBIOS'; echo 'KVM internal error. Suberror: 1' >&2; exec sleep 1000; }",
];

#[test]
fn a_guest_that_dies_of_kvm_is_booted_again_with_emulation() {
    if Accel::guess() == Accel::Tcg {
        return; // without /dev/kvm nothing is tried but emulation
    }
    for death in DEATHS {
        let fake = Fake::guest(&[("early", death)]);
        let report = fake.test(|options| options.accel = None);
        assert!(report.passed(), "{report}");
        assert_eq!((report.accel, report.fell_back), (Accel::Tcg, true));
        assert_eq!(fake.read("started"), "kvm\ntcg\n");
        assert!(
            report.to_string().starts_with("note: the guest did not live under KVM: starting again"),
            "{report}"
        );
        assert!(fake.is_gone());
    }
}

#[test]
fn a_guest_that_was_told_to_use_kvm_gets_no_second_chance() {
    let fake = Fake::guest(&[("early", DEATHS[0])]);
    let report = fake.test(|options| options.accel = Some(Accel::Kvm));
    assert_eq!(row(&report, "boot").0, Outcome::Fail);
    assert_eq!(fake.read("started"), "kvm\n");
}

#[test]
fn on_the_terminal_too_emulation_takes_over_from_kvm() {
    if Accel::guess() == Accel::Tcg {
        return;
    }
    for death in DEATHS {
        let fake = Fake::guest(&[("early", death), ("booting", "exit 0")]);
        let mut notes = Vec::new();
        boot::interactive(&fake.script(), None, &[], &mut |note| notes.push(note.to_owned())).unwrap();
        assert_eq!(notes, ["the guest did not live under KVM: starting again with emulation (tcg)"]);
        assert_eq!(fake.read("started"), "kvm\ntcg\n");
    }
}

#[test]
fn on_the_terminal_a_failure_is_an_error() {
    let fake = Fake::guest(&[("early", "exit 5")]);
    let error = boot::interactive(&fake.script(), Some(Accel::Tcg), &[], &mut |_| ()).unwrap_err();
    assert!(error.message.ends_with("/run` ended with exit status 5"), "{error}");
}

/// Set where this test program is run by itself, to be killed while it waits for a guest.
const VICTIM: &str = "MK_TEST_BOOT_VICTIM";

#[test]
fn no_guest_outlives_a_killed_mk() {
    if let Ok(script) = std::env::var(VICTIM) {
        let _ = boot::interactive(Path::new(&script), Some(Accel::Tcg), &[], &mut |_| ());
        return;
    }
    let fake = Fake::guest(&[("early", "exec sleep 1000")]);
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "no_guest_outlives_a_killed_mk"])
        .env(VICTIM, fake.script())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let wait = |what: &str, done: &dyn Fn() -> bool| {
        let begun = Instant::now();
        while !done() {
            assert!(begun.elapsed() < Duration::from_secs(60), "{what}");
            std::thread::yield_now();
        }
    };
    wait("the guest starts", &|| {
        fs_err::read_to_string(fake.path("pid")).is_ok_and(|pid| pid.ends_with('\n'))
    });
    victim.kill().unwrap();
    victim.wait().unwrap();
    wait("the guest is gone", &|| {
        let status = format!("/proc/{}/status", fake.read("pid").trim());
        // Its new parent may leave it as a zombie for a while.
        fs_err::read_to_string(status).is_ok_and(|text| text.contains("State:\tZ")) || fake.is_gone()
    });
}
