//! `mk lint`: each rule, and how to silence it.

mod fixture;

use fixture::Fixture;

/// What lint finds in one recipe, with these further files.
fn lint(recipe: &str, files: &[(&str, &str)]) -> String {
    let mut all = vec![("pkg/foo/build", recipe)];
    all.extend(files);
    let ran = Fixture::new(&all).mk("lint --no-shellcheck");
    assert_eq!(ran.status, i32::from(!ran.out.is_empty()), "{}{}", ran.out, ran.err);
    ran.out
}

#[test]
fn a_sound_recipe_passes() {
    let recipe = "VERSION=1\nPROGRAMS=\"a b\"\nprepare() {\n\tapply_patches\n}\nbuild() {\n\tlocal x\n\tx=$(pwd)\n\
                  \tmake -j \"$NUMJOBS\" $PROGRAMS \"$x\" ${GCC_CPUX:-}\n\tcp \"$SCRIPTDIR/pkg/$PKGNAME/foo.config\" .config\n}\n\
                  deploy() {\n\trootfs_config \"$2\" foo.conf etc\n\trootfs_service \"$2\"\n}\n";
    assert_eq!(
        lint(
            recipe,
            &[
                ("pkg/foo/foo.config", ""),
                ("pkg/foo/foo.conf", ""),
                ("pkg/foo/service", ""),
                ("pkg/foo/a.patch", ""),
                ("pkg/foo/README", "")
            ]
        ),
        ""
    );
}

#[test]
fn misspelt_variables_are_told_with_the_nearest_name() {
    assert_eq!(
        lint("VERSION=1\nDEPEND=\"zlib\"\nbuild() {\n\tmake -j \"$NUMJOB\" x\n}\n", &[]),
        "pkg/foo/build:2: misspelt-variable: `DEPEND` is set, but nothing reads it; did you mean `DEPENDS`?\n\
         pkg/foo/build:4: misspelt-variable: `$NUMJOB` is never set; did you mean `$NUMJOBS`?\n"
    );
}

#[test]
fn misspelt_steps_and_helpers_are_told() {
    assert_eq!(
        lint("prepare() {\n\tapply_patch\n}\nbiuld() {\n\t:\n}\nhelp_me() {\n\t:\n}\n", &[]),
        "pkg/foo/build:2: misspelt-function: there is no `apply_patch`; did you mean `apply_patches`?\n\
         pkg/foo/build:4: misspelt-function: nothing calls `biuld`; did you mean the step `build`?\n"
    );
}

#[test]
fn digests_that_cannot_be_are_told() {
    let zeros = "0".repeat(64);
    let recipe = |digest: &str| format!("TARBALL=a.tar\nSRCDIR=a\nSHA256SUM=\"{digest}\"\n");
    assert!(lint(&recipe(&zeros), &[]).starts_with("pkg/foo/build:3: digest: SHA256SUM `000"));
    assert!(lint(&recipe("abc"), &[]).starts_with("pkg/foo/build:1: digest: SHA256SUM"));
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert!(lint(&recipe(empty), &[]).contains("is the digest of an empty file"));
}

#[test]
fn lost_failures_and_numbers_of_jobs_are_told() {
    assert_eq!(
        lint("build() {\n\tlocal x=$(pwd)\n\tmake -j8 \"$x\"\n\tmake -j\n}\n", &[]),
        "pkg/foo/build:2: masked-status: `local x=$(…)` succeeds even if the command fails; declare `x` first, then set it\n\
         pkg/foo/build:3: make-jobs: `8` jobs are too many for one machine and too few for another; say `-j \"$NUMJOBS\"`\n\
         pkg/foo/build:4: make-jobs: `-j` without a number starts as many jobs as there are; say `-j \"$NUMJOBS\"`\n"
    );
}

#[test]
fn files_that_nothing_uses_are_told() {
    let files =
        [("pkg/foo/fix.patch", ""), ("pkg/foo/old.conf", ""), ("pkg/foo/files/a", ""), ("pkg/bar/build", "")];
    assert_eq!(
        lint("deploy() {\n\tcp -r \"$SCRIPTDIR/pkg/foo/files\" \"$2\"\n}\n", &files),
        "pkg/foo/build:1: unused-file: `fix.patch` is never applied: no function calls `apply_patches`\n\
         pkg/foo/build:1: unused-file: nothing names the file `old.conf`\n"
    );
    let other = [
        ("pkg/foo/old.conf", ""),
        ("pkg/bar/build", "build() {\n\tcat \"$SCRIPTDIR/pkg/foo/old.conf\"\n}\n"),
    ];
    assert_eq!(lint("", &other), "");
}

#[test]
fn a_recipe_that_cannot_be_read_is_a_finding_and_the_others_are_still_looked_at() {
    let text = lint("VERSION=1\nif\n", &[("pkg/bar/build", "DEPEND=x\n"), ("pkg/baz/build", "exit\n")]);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("pkg/bar/build:1: misspelt-variable:"), "{text}");
    assert!(lines[1].starts_with("pkg/baz/build:1: recipe: exits with status 0 while it is read"), "{text}");
    assert!(lines[2].starts_with("pkg/foo/build:") && lines[2].contains(": recipe: "), "{text}");
}

#[test]
fn a_comment_with_a_reason_silences_a_rule_beside_it_and_no_other() {
    let silent = "build() {\n\t# lint: make-jobs: this one hangs with more\n\tmake -j2\n\tmake -j3 # lint: make-jobs: so does this\n}\n\
                  # lint: unused-file: kept for the next version\n";
    assert_eq!(lint(silent, &[("pkg/foo/fix.patch", "")]), "");
    assert_eq!(
        lint("# lint: make-jobs\n# lint: mask-status: x\nbuild() {\n\tmake -j2\n}\n", &[]),
        "pkg/foo/build:1: silence: say why `make-jobs` does not apply: `# lint: make-jobs: reason`\n\
         pkg/foo/build:2: silence: there is no rule `mask-status`; did you mean `masked-status`?\n\
         pkg/foo/build:4: make-jobs: `2` jobs are too many for one machine and too few for another; say `-j \"$NUMJOBS\"`\n"
    );
}

#[test]
fn shellcheck_is_asked_where_it_is_installed() {
    let there = std::process::Command::new("shellcheck").arg("--version").output().is_ok();
    let fixture = Fixture::new(&[
        ("pkg/foo/build", "build() {\n\tcd one\n\t# lint: SC2164: a test\n\tcd two\n\techo $1\n}\n"),
        (".shellcheckrc", "disable=SC2086\n"),
    ]);
    let ran = fixture.mk("lint");
    assert_eq!(ran.status, i32::from(there), "{}", ran.err);
    assert!(!there || ran.out.starts_with("pkg/foo/build:2: SC2164: "), "{}", ran.out);
    assert_eq!(ran.out.lines().count(), usize::from(there), "{}", ran.out);
}

#[test]
fn findings_are_listed_as_json_and_rules_too() {
    let fixture = Fixture::new(&[("pkg/foo/build", "DEPEND=x\n"), ("pkg/bar/build", "DEPEND=x\n")]);
    let json = fixture.mk("lint --no-shellcheck --format json foo").json();
    assert_eq!(json["packages"], 1);
    let finding = &json["findings"][0];
    assert_eq!(
        (&finding["file"], &finding["line"], &finding["rule"]),
        (&"pkg/foo/build".into(), &1.into(), &"misspelt-variable".into())
    );
    assert!(fixture.mk("lint --rules").ok().contains("make-jobs "));
    assert_eq!(fixture.mk("lint fooo").status, 2);
}

/// Three libraries and a program of the build machine's own compiler.
const TOOLCHAIN: &str = "deploy() {\n\tmkdir -p \"$TCDIR/bin\"\n\tln -s \"$(command -v strip)\" \"$TCDIR/bin/$TARGET-strip\"\n}\n";
const LIBRARY: &str = "build() {\n\techo \"int $PKGNAME(void) { return 1; }\" | gcc -shared -fPIC -nostdlib -Wl,-soname,\"$PKGNAME.so.1\" -o \"$PKGNAME.so.1\" -x c -\n}\n\
deploy() {\n\tinstall -D \"$PKGNAME.so.1\" \"$2/lib/$PKGNAME.so.1\"\n\tmkdir \"$2/lib/pkgconfig\"\n\
\techo \"Name: $PKGNAME\" > \"$2/lib/pkgconfig/$PKGNAME.pc\"\n}\n";

#[test]
fn outputs_are_compared_with_dependencies_and_looked_through_for_the_build_machine() {
    let library = |depends: &str| format!("DEPENDS=\"toolchain {depends}\"\n{LIBRARY}");
    let [one, two] = [library(""), library("")];
    let middle = format!(
        "{}\tprintf 'Requires: one >= 2, none\\nlibdir=/mk/root/deploy/middle/lib\\n' >> \"$2/lib/pkgconfig/middle.pc\"\n}}\n",
        library("one").trim_end().trim_end_matches('}')
    );
    let target = std::process::Command::new("gcc").arg("-dumpmachine").output().unwrap();
    let target = String::from_utf8(target.stdout).unwrap();
    // The head of a program for s390x, or on such a machine for x86-64.
    let order = if target.starts_with("s390x") { "\\001" } else { "\\002" };
    let head = format!("\\177ELF\\002{order}\\001\\000\\000\\000\\000\\000\\000\\000\\000\\000");
    let zeros = "\\000".repeat(64);
    let header = if target.starts_with("s390x") {
        format!("{head}\\002\\000\\076\\000\\001\\000\\000\\000{zeros}")
    } else {
        format!("{head}\\000\\002\\000\\026\\000\\000\\000\\001{zeros}")
    };
    let app = format!(
        "DEPENDS=\"toolchain middle two\"\nbuild() {{\n\techo 'int one(void); int _start(void) {{ return one(); }}' |\n\
         \t\tgcc -nostdlib -Wl,-rpath,/mk/root/lib -o app -x c - -x none \"$PKGDEPLOYDIR/one/lib/one.so.1\"\n}}\n\
         deploy() {{\n\tinstall -D app \"$2/bin/app\"\n\tmkdir \"$2/libexec\"\n\tprintf '{header}' > \"$2/libexec/foreign\"\n\
         \tprintf '#!/bin/sh\\necho -I/usr/include/app\\n' > \"$2/bin/app-config\"\n}}\n"
    );
    let fixture = Fixture::new(&[
        ("board/tiny/TOOLCHAIN", &format!("TARGET=\"{}\"\n", target.trim())),
        ("pkg/toolchain/build", TOOLCHAIN),
        ("pkg/one/build", &one),
        ("pkg/two/build", &two),
        ("pkg/middle/build", &middle),
        ("pkg/app/build", &app),
        ("pkg/release-tiny/build", "DEPENDS=\"app\"\n"),
    ]);
    fixture.mk("tiny demo").ok();
    let ran = fixture.mk("lint --no-shellcheck");
    let expected = [
        "pkg/app/build:1: missing-dependency: `bin/app` needs `one.so.1` of `one`, which DEPENDS does not name",
        "pkg/app/build:1: unused-dependency: DEPENDS names `middle`, but nothing that was deployed needs a library of it",
        "pkg/app/build:1: unused-dependency: DEPENDS names `two`, but nothing that was deployed needs a library of it",
        "pkg/app/build:6: build-rpath: `bin/app` has the runpath `/mk/root/lib`, which is not there on the target",
        "pkg/app/build:6: host-path: `bin/app-config` names `/usr/include/app`, which is a path of the build machine",
        "pkg/app/build:6: wrong-architecture: `libexec/foreign` is for",
        "pkg/middle/build:5: host-path: `lib/pkgconfig/middle.pc` names `/mk/root/deploy/middle/lib`, which is a path of the build machine",
    ];
    let found: Vec<&str> = ran.out.lines().collect();
    assert_eq!(found.len(), expected.len(), "{}", ran.out);
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}\n{expected}");
    }
    let app = app.replace("toolchain middle two", "toolchain one");
    fixture.write("pkg/app/build", &app);
    fixture.mk("tiny demo").ok();
    assert!(!fixture.mk("lint --no-shellcheck app").out.contains("dependency"));
}
