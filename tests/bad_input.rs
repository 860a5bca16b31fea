//! Bad input, each with its clear error: what was typed, recipes, names, folders, and outputs that nobody reads.

mod harness;

use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use harness::Tree;

// What was typed

#[test]
fn an_unknown_board_product_or_package_is_named_with_its_nearest() {
    let tree = Tree::new().board("big").product("desk").package("zlib", "").package("musl", "");
    tree.mk("plan tyni demo").is("
        ! error: unknown board `tyni`: there is no `board/tyni`
        !   there are: big, tiny
        !   tree: /tree
        ! hint: did you mean `tiny`?
        status 2
    ");
    tree.mk("tiny dmeo").is("
        ! error: unknown product `dmeo`: there is no `product/dmeo`
        !   there are: demo, desk
        !   tree: /tree
        ! hint: did you mean `demo`?
        status 2
    ");
    tree.mk("tiny demo zlbi").is("
        ! error: unknown package `zlbi`: there is no `pkg/zlbi/build`
        !   there are: musl, zlib
        ! hint: did you mean `zlib`?
        status 2
    ");
    tree.mk("tiny demo something-else").is("
        ! error: unknown package `something-else`: there is no `pkg/something-else/build`
        !   there are: musl, zlib
        status 2
    ");
    tree.mk("tiny demo").is("
        ! error: board `tiny` has no package `release-tiny`: there is no `pkg/release-tiny/build`
        ! hint: the package `release-<board>` needs everything that the image is made of
        status 3
    ");
}

#[test]
fn a_command_with_a_slip_in_it_is_known_from_a_board() {
    let tree = Tree::new();
    tree.mk("lst packages").is("
        ! error: unknown board `lst`: there is no `board/lst`
        !   there are: tiny
        !   tree: /tree
        ! hint: did you mean the command `list`?
        status 2
    ");
    tree.mk("-j 1 chek-updaet").has("! hint: did you mean the command `check-update`?").has("status 2");
    tree.mk("lnt --rules").has("! hint: did you mean the command `lint`?").has("status 2");
    for line in ["tiny", "other demo", "build lst packages", "tiny lst"] {
        let ran = tree.mk(line);
        assert!(ran.status == 2 && !ran.stderr.contains("the command"), "{}", ran.text());
    }
}

#[test]
fn what_cannot_be_booted_is_told_with_what_helps() {
    let tree = Tree::new().package("release-tiny", "deploy() { touch \"$2/image\"; }\n");
    tree.mk("run tiny demo").is("
        ! error: nothing to boot: there is no `tiny-demo/deploy/release-tiny/run`
        ! hint: `mk tiny demo` builds it
        status 2
    ");
    tree.builds("").mk("run tiny demo").is("
        ! error: nothing to boot: there is no `tiny-demo/deploy/release-tiny/run`
        ! hint: `pkg/release-tiny` was built and deploys no program `run`, which is what this command starts
        status 2
    ");
}

#[test]
fn a_command_that_a_hint_shows_goes_to_the_tree_the_workspace_and_the_store_that_were_typed() {
    let tree = Tree::new().package("a", "build() { false; }\n");
    let [folder, work, store] =
        ["tree", "work space", "other"].map(|name| tree.at(name).display().to_string());
    fs_err::create_dir(&work).unwrap();
    tree.mk_words(&["-q", "tiny", "demo", "a"]).has("! hint: `mk shell tiny demo a` opens a shell");
    let ran = tree.mk_words(&["-t", &folder, "-qC", &work, "tiny", "demo", "a", "--store", &store]);
    ran.has("! hint: `mk -t /tree -C '/work space' --store /other shell tiny demo a` opens a shell");
    let hint = ran.stderr.lines().find_map(|line| line.strip_prefix("hint: `mk ")).unwrap();
    let mut pasted = tree.command(&[]);
    pasted.env_remove("MK_TREE").env_remove("MK_STORE");
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", &format!("{} {} </dev/null", harness::MK, hint.split('`').next().unwrap())]);
    shell.env_clear().envs(pasted.get_envs().filter_map(|(name, value)| Some((name, value?))));
    tree.run(shell.current_dir(tree.at("workspace"))).has("! note: in the folders of the failed build");
    tree.mk_words(&["log", "another", "-C", &work])
        .has("! hint: `mk -C '/work space' log --list` lists logs");
}

#[test]
fn what_is_no_package_is_told_as_what_it_is() {
    let tree = Tree::new().package("zlib", "").file("pkg/zlob/file", "").file("pkg/a b/build", "");
    for command in ["tiny demo zlob", "show tiny demo zlob VERSION", "check-update zlob", "lint zlob"] {
        tree.mk(command).is("
            ! error: unknown package `zlob`: `pkg/zlob` has no file `build`
            ! hint: a package's recipe is the file `build` in its folder
            status 2
        ");
    }
    tree.mk("plan tiny demo zlub").has("!   there are: zlib\n");
    tree.builds("zlib").mk("clean zlub").has("!   there are: zlib, zlob\n");
    tree.mk(&format!("plan tiny demo {}", "x".repeat(201))).has("! hint: names have at most 200 characters");
    assert_eq!(tree.mk("check-update").status, 0);
}

#[test]
fn commands_that_look_into_a_store_make_none() {
    let tree = Tree::new();
    for command in ["store list", "store verify", "gc"] {
        tree.mk(command).is("
            ! error: there is no store in `/store`
            ! hint: the first build makes one; --store or MK_STORE names another
            status 2
        ");
        assert!(!tree.at("store").exists());
    }
}

#[test]
fn what_has_no_source_cannot_be_bumped_in_one_way() {
    let tree = Tree::new().package("a", "VERSION=1\n");
    for command in ["bump a", "bump a 2"] {
        tree.mk(command).is("! error: a: it has no source\nstatus 2\n");
    }
}

#[test]
fn an_empty_word_is_no_package_also_when_nothing_is_to_be_done() {
    let tree = Tree::new().package("release-tiny", "");
    tree.builds("").builds("");
    tree.mk_words(&["tiny", "demo", ""]).has("! error: `` cannot be the name of a package").has("status 2");
}

#[test]
fn a_board_that_a_product_does_not_list_is_told_with_the_line_that_lists_it() {
    let tree = Tree::new().board("other").file("product/demo/BOARDS", "tiny\n");
    tree.mk("plan other demo").is("
        ! error: product `demo` does not support board `other`
        !   product/demo/BOARDS lists: tiny
        ! hint: a line `other` in `product/demo/BOARDS` says that it does
        status 2
    ");
}

#[test]
fn a_tree_that_is_not_there_is_told() {
    let tree = Tree::new();
    let place = tree.at("none").to_string_lossy().into_owned();
    tree.mk_words(&["-t", &place, "tiny", "demo"]).is("
        ! error: there is no tree `/none`
        ! hint: name one with --tree DIR or MK_TREE; `mk init DIR` writes a small one
        status 2
    ");
}

#[test]
fn names_that_are_no_names_are_refused() {
    let tree = Tree::new().package("a", "");
    let hint =
        "! hint: names are made of letters, digits, `.`, `_`, `+`, `-`, `@` and start with none of `.`, `-`";
    for (words, shown, what) in [
        (["ti ny", "demo", "a"], "ti ny", "board"),
        (["../tiny", "demo", "a"], "../tiny", "board"),
        (["..", "demo", "a"], "..", "board"),
        (["tiny", "de/mo", "a"], "de/mo", "product"),
        (["tiny", "", "a"], "", "product"),
        (["tiny", "demo", "a b"], "a b", "package"),
        (["tiny", "demo", "../a"], "../a", "package"),
        (["tiny", "demo", "a\u{1b}[31m"], "a\\u{1b}[31m", "package"),
        (["tiny", "demo", "a\nb"], "a\\nb", "package"),
    ] {
        tree.mk_words(&[&["plan"], &words[..]].concat())
            .is(&format!("! error: `{shown}` cannot be the name of a {what}\n{hint}\nstatus 2\n"));
    }
    tree.mk_words(&["plan", "--", "tiny", "demo", "-rf"])
        .is(&format!("! error: `-rf` cannot be the name of a package\n{hint}\nstatus 2\n"));
    tree.mk("plan tiny demo -rf").has("! error: unexpected argument `-r` found").has("status 2");
}

#[test]
fn too_few_words_and_unknown_options_are_errors_of_usage() {
    let tree = Tree::new();
    tree.mk("").has("Usage: mk [OPTIONS] BOARD PRODUCT").has("\nCommands:\n").has("status 2");
    // The environment names the tree, the store, a number of jobs and rooms: no need to.
    for (line, usage) in [
        ("list", "mk list [OPTIONS] <WHAT>"),
        ("store verify x", "mk store verify [OPTIONS]"),
        ("doctor --what", "mk doctor [OPTIONS] [BOARD] [PRODUCT] [PACKAGES]..."),
        ("tiny", "mk build [OPTIONS] <BOARD> <PRODUCT> [PACKAGES]..."),
    ] {
        tree.mk(line).has(&format!("!   Usage: {usage}\n")).has("status 2");
    }
    tree.mk("gc --older-than x")
        .has("! error: invalid value `x` for `--older-than <DAYS>`: it takes a whole number\n");
    tree.mk("tiny").has("PRODUCT").has("status 2");
    tree.mk("--kepe-going tiny demo")
        .has("! error: unexpected argument `--kepe-going` found")
        .has("--keep-going")
        .has("!   Usage: mk build [OPTIONS] <BOARD> <PRODUCT> [PACKAGES]...\n")
        .has("status 2");
    tree.mk("--rooms perhaps tiny demo").has("perhaps").has("auto, always, never").has("status 2");
    let tree = tree.env("MK_ROOMS", "perhaps");
    tree.mk("plan tiny demo").has("! error: MK_ROOMS: invalid value `perhaps` for `--rooms <WHEN>`");
    tree.mk("plan tiny demo --rooms x").has("! error: invalid value `x` for `--rooms <WHEN>`");
}

#[test]
fn who_asks_for_help_by_a_word_gets_it() {
    let tree = Tree::new().board("help").package("a", "");
    for (asked, option) in
        [("help", "--help"), ("help plan", "plan --help"), ("help store list", "store list --help")]
    {
        let ran = tree.mk(asked);
        ran.is(&tree.mk(option).text());
        assert_eq!(ran.status, 0);
    }
    tree.mk("plan help demo a").has("build  a");
    tree.mk("help demo -n a").has("build  a");
}

#[test]
fn a_number_of_jobs_is_a_number_from_one() {
    let tree = Tree::new().package("a", "");
    for jobs in ["0", "-1", "many", "4097", "99999999999999999999", "1.5", "４"] {
        tree.mk(&format!("-j {jobs} plan tiny demo a")).is(&format!(
            "! error: `{jobs}` is no number of jobs\n! hint: -j takes a number from 1 to 4096; without it every processor is used\nstatus 2\n"
        ));
    }
    tree.mk("-j 4096 plan tiny demo a").has("build  a");
    let tree = tree.env("MK_JOBS", "none");
    tree.mk("plan tiny demo a").has("! error: MK_JOBS: `none` is no number of jobs").has("status 2");
}

#[test]
fn a_reader_that_goes_away_ends_the_program_quietly() {
    let tree = (0..2000).fold(Tree::new(), |tree, i| tree.file(&format!("pkg/a/file{i:04}"), "x"));
    let all: Vec<String> = (0..300).map(|i| format!("package-with-a-long-name-{i:03}")).collect();
    let tree = all.iter().fold(tree, |tree, name| tree.package(name, "VERSION=1"));
    let tree = tree.package("release-tiny", &format!("DEPENDS='{}'", all.join(" ")));
    for words in [["plan", "tiny", "demo", "--format=human"], ["plan", "tiny", "demo", "--format=json"]] {
        let mut child = tree.command(&words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!((child.wait().unwrap().code(), said.as_str()), (Some(0), ""));
    }
}

#[test]
fn events_that_cannot_be_written_are_told_when_all_is_done() {
    let tree = Tree::new().package("a", "deploy() { touch \"$2/file\"; }\n");
    // The second time nothing is left to do.
    for _ in 0..2 {
        let full = fs_err::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut command = tree.command(&["tiny", "demo", "a", "--format", "json"]);
        tree.run(command.stdout(full.into_parts().0)).is("
            ! error: cannot write to standard output: No space left on device (os error 28)
            status 5
        ");
        assert_eq!(tree.list_deployed("a"), ["file"]);
    }
}

#[test]
fn a_path_that_is_no_utf_8_is_told_with_its_bytes_replaced() {
    let tree = Tree::new()
        .archive("new-1.tar.gz", &[("new-1/file", "x\n")])
        .file("product/demo/ROOTFS", "packed\n")
        .file("board/tiny/TOOLCHAIN", "PACKAGE_ARCH=all\n")
        .package("sdk", "deploy() { touch \"$2/sdk.tar\"; }\n")
        .package("packed", "VERSION=1\ndeploy() {\n\ttouch \"$2/file\"\n\trootfs_files \"$2\" file\n}\n")
        .package("old", "build() { :; }");
    // Packages of which one is not used any more, in a store whose name has a byte that is none.
    for packages in ["old", "packed sdk"] {
        tree.builds(packages);
        fs_err::remove_dir_all(tree.at("workspace/tiny-demo/.mk")).unwrap_or_default();
    }
    tree.builds("packed sdk");
    let odd = |name: &str| std::ffi::OsString::from_vec([name.as_bytes(), b"\xff"].concat());
    for name in ["store", "workspace"] {
        fs_err::rename(tree.at(name), tree.at(".").join(odd(name))).unwrap();
    }
    let above = tree.at(".");
    fs_err::create_dir_all(above.join(odd("workspace")).join("download")).unwrap();
    fs_err::write(above.join(odd("workspace")).join("download").join(odd("mine")), "").unwrap();
    // `%` stands for that byte.
    let told = |line: &str, field: &str, path: &str| {
        let words = line.split(' ').map(|word| match word.strip_suffix('%') {
            Some(word) => odd(word),
            None => word.into(),
        });
        let mut command = tree.command(&["--format", "json"]);
        command.env("MK_STORE", above.join(odd("store")));
        let ran = tree.run(command.args(words).current_dir(above.join(odd("workspace"))));
        assert_eq!(ran.status, 0, "{line}: {}", ran.text());
        let json: serde_json::Value = serde_json::from_str(ran.stdout.lines().last().unwrap()).unwrap();
        let found = json.pointer(field).and_then(serde_json::Value::as_str).unwrap_or_default();
        assert!(found.contains('\u{fffd}') && found.ends_with(path), "{line}: {json}");
    };
    told("store list", "/store", "/store\u{fffd}");
    told("gc --dry-run", "/removed/0/path", "");
    told("log --list", "/logs/0/path", "/packed-deploy.log");
    told("sdk tiny demo --output sdk%", "/file", "/sdk\u{fffd}/sdk.tar");
    told("pack tiny demo --output packages%", "/folder", "/packages\u{fffd}");
    told("clean", "/left/0", "/mine\u{fffd}");
    told("clean --logs --downloads", "/removed/0/path", "/events.json");
    told("init tree%", "/tree", "/tree\u{fffd}");
    let archive = format!("file://{}/new-1.tar.gz", tree.at("archives").display());
    told(&format!("-t tree% new new {archive}"), "/recipe", "/pkg/new/build");
    told("man pages%", "/written/0", "/mk.1");
}

// Recipes

#[test]
fn a_recipe_that_does_not_parse_is_named_with_its_line() {
    let tree = Tree::new()
        .package("a", "VERSION=1\nbuild() {\n\tif true; then\n\t\techo\n}\n")
        .package("b", "DEPENDS=a");
    tree.mk("plan tiny demo b").is("
        ! error: pkg/a/build:5: syntax error near unexpected token `}'
        status 3
    ");
}

#[test]
fn a_recipe_whose_command_fails_while_it_is_read_is_named_with_its_line() {
    let tree = Tree::new()
        .package("a", "VERSION=1\nfalse\n")
        .package("b", "DEPENDS=$(no_such_helper ROOTFS | sort -u)\n")
        .package("c", "source \"$SCRIPTDIR/pkg/gone/build\"\n")
        .package("d", "source \"$SCRIPTDIR/pkg/a/build\"\n");
    tree.mk("plan tiny demo a").is("
        ! error: pkg/a/build:2: `false` failed with status 1 while the recipe was read
        status 3
    ");
    tree.mk("plan tiny demo b").is("
        ! error: pkg/b/build:1: no_such_helper: command not found
        status 3
    ");
    tree.mk("plan tiny demo c").is("
        ! error: pkg/c/build:1: pkg/gone/build: No such file or directory
        status 3
    ");
    tree.mk("plan tiny demo d").has("! error: pkg/a/build:2: `false` failed").has("status 3");
}

#[test]
fn a_recipe_that_prints_while_it_is_read_is_warned_of_and_built() {
    let tree = Tree::new()
        .package("a", "echo 'hello from a'\necho loud >&2\nVERSION=1\nbuild() { true $VERSION; }\n");
    tree.mk("tiny demo a").is("
        ! warning: pkg/a/build prints while it is read: `hello from a`
        ! a: build
        ! a: build done in #s
        ! a: built in #s  (never built)
        ! 1 package: 1 built
        ! time:…
        ! critical path…
    ");
    tree.mk("plan tiny demo a").is("reuse  a 1\n");
}

#[test]
fn a_recipe_whose_last_command_says_no_is_named_with_it() {
    let tree = Tree::new().package("a", "VERSION=1\n[ \"$BOARD\" = other ] && VERSION=2\n\n");
    tree.mk("plan tiny demo a").is("
        ! error: pkg/a/build:2: `[ \"$BOARD\" = other ] && VERSION=2` failed with status 1 while the recipe was read
        status 3
        ");
}

#[test]
fn a_recipe_that_exits_is_named() {
    for (status, text) in [(0, "VERSION=1\nexit 0\n"), (7, "VERSION=1\nexit 7\n")] {
        let tree = Tree::new().package("a", text);
        tree.mk("plan tiny demo a").is(&format!(
            "! error: pkg/a/build: exits with status {status} while it is read\n\
             ! hint: a recipe is sourced: use `return`, and leave work to its functions\nstatus 3\n"
        ));
    }
    let tree = Tree::new().package("a", "VERSION=1\nkill -9 $$\n");
    tree.mk("plan tiny demo a").has("error: bash ended while it read `pkg/a/build`").has("status 3");
}

#[test]
fn a_recipe_that_is_never_read_to_its_end_is_given_up() {
    for text in ["while :; do :; done", "sleep 1000", "cat <(sleep 1000)", "trap '' TERM INT; sleep 1000"] {
        let tree = Tree::new().env("MK_EVALUATION_LIMIT", "1").package("a", text).package("b", "VERSION=1");
        tree.mk("plan tiny demo a").is("
            ! error: `pkg/a/build` was not read to its end within 1 s
            ! hint: a recipe sets variables and defines functions; work belongs into the functions
            status 3
        ");
        tree.mk("plan tiny demo b").has("build  b 1");
    }
}

#[test]
fn a_variable_of_the_contract_that_is_an_array_is_named() {
    for name in ["VERSION", "URL", "TARBALL", "SHA256SUM", "SRCDIR", "DEPENDS"] {
        let tree = Tree::new().package("a", &format!("{name}=(x y)"));
        tree.mk("plan tiny demo a").is(&format!(
            "! error: pkg/a/build: {name} is an array; it must be one word or words separated by spaces\nstatus 3\n"
        ));
    }
}

#[test]
fn an_unknown_dependency_is_named_with_its_nearest_and_the_recipe() {
    let tree = Tree::new()
        .package("openssl", "")
        .package("foo", "DEPENDS='opensll'")
        .package("bar", "DEPENDS='really-not-there'");
    tree.mk("plan tiny demo foo").is("
        ! error: pkg/foo/build: DEPENDS names unknown package `opensll`
        ! hint: did you mean `openssl`?
        status 3
    ");
    tree.mk("plan tiny demo bar").is("
        ! error: pkg/bar/build: DEPENDS names unknown package `really-not-there`
        ! hint: there is no `pkg/really-not-there/build`
        status 3
    ");
}

#[test]
fn a_dependency_s_name_must_be_one() {
    for (depends, shown) in
        [("../x", "../x"), ("a/b", "a/b"), ("-x", "-x"), ("$'x\\e[0m'", "x\\u{1b}[0m"), ("'größe'", "größe")]
    {
        let tree = Tree::new().package("a", &format!("DEPENDS={depends}"));
        tree.mk("plan tiny demo a").is(&format!(
            "! error: pkg/a/build: DEPENDS: `{shown}` cannot be the name of a package\nstatus 3\n"
        ));
    }
}

#[test]
fn a_recipe_that_needs_itself_and_a_cycle_are_told_as_such() {
    let tree = Tree::new()
        .package("self", "DEPENDS='self'")
        .package("top", "DEPENDS=curl")
        .package("curl", "DEPENDS=openssl")
        .package("openssl", "DEPENDS='ca-certs zlib'")
        .package("ca-certs", "DEPENDS=curl")
        .package("zlib", "");
    tree.mk("plan tiny demo self")
        .is("! error: pkg/self/build: DEPENDS names the package itself\nstatus 3\n");
    tree.mk("plan tiny demo top")
        .is("! error: dependency cycle: ca-certs → curl → openssl → ca-certs\nstatus 3\n");
}

#[test]
fn an_archive_without_digest_or_folder_and_one_that_is_no_file_name_are_refused() {
    let digest = "0".repeat(64);
    for (recipe, message) in [
        ("TARBALL=a.tar.gz SRCDIR=a".to_owned(), "TARBALL is `a.tar.gz` but SHA256SUM is not set"),
        (format!("TARBALL=a.tar.gz SHA256SUM={digest}"), "TARBALL is `a.tar.gz` but SRCDIR is not set"),
        ("TARBALL=a.tar.gz SRCDIR=a SHA256SUM=123".to_owned(), "SHA256SUM: "),
        (format!("TARBALL=../a.tar.gz SRCDIR=a SHA256SUM={digest}"), "TARBALL `../a.tar.gz` is no file name"),
        (format!("TARBALL='a b.tar' SRCDIR=a SHA256SUM={digest}"), "TARBALL `a b.tar` is no file name"),
        (
            format!("TARBALL=a.tar SRCDIR=../a SHA256SUM={digest}"),
            "SRCDIR `../a` is no folder inside an archive",
        ),
        (
            format!("TARBALL=a.tar SRCDIR=/etc SHA256SUM={digest}"),
            "SRCDIR `/etc` is no folder inside an archive",
        ),
    ] {
        let tree = Tree::new().package("a", &recipe);
        tree.mk("plan tiny demo a").has(&format!("! error: pkg/a/build: {message}")).has("status 3");
    }
}

#[test]
fn a_source_folder_that_the_archive_lacks_is_told_with_those_that_it_has() {
    for tree in Tree::both() {
        let tree = tree.archive("a-1.tar.gz", &[("a-1.0/file", "x")]).package(
            "a",
            "URL=ARCHIVES TARBALL=a-1.tar.gz SRCDIR=a-1 SHA256SUM=SHA256(a-1.tar.gz)\nbuild() { :; true; }",
        );
        tree.mk("-q tiny demo a").has("! error: a: ").has("a-1.0").has("SRCDIR").has("status 3");
    }
}

#[test]
fn a_recipe_that_is_no_text_is_refused() {
    let tree = Tree::new().package("a", "VERSION=1\0\n");
    tree.mk("plan tiny demo a")
        .is("! error: `pkg/a/build` is no bash script: it holds a NUL byte\nstatus 3\n");
    let tree = Tree::new().file("pkg/a/build/file", "");
    tree.mk("plan tiny demo a").has("unknown package `a`").has("status 2");
}

#[test]
fn a_toolchain_file_that_is_wrong_is_named() {
    let tree = Tree::new().package("a", "").file("board/tiny/TOOLCHAIN", "TARGET=x\nif\n");
    tree.mk("plan tiny demo a").has("board/tiny/TOOLCHAIN").has("status 3");
    let tree = Tree::new().package("a", "").file("board/tiny/TOOLCHAIN", "echo hello\n");
    tree.mk("plan tiny demo a").has("prints while it is read").has("hello").has("status 3");
    let tree = Tree::new().package("a", "").file("board/tiny/TOOLCHAIN", "exit 3\n");
    tree.mk("plan tiny demo a").has("TOOLCHAIN").has("status 3");
    let tree = Tree::new()
        .env("MK_EVALUATION_LIMIT", "1")
        .package("a", "")
        .file("board/tiny/TOOLCHAIN", "sleep 1000\n");
    tree.mk("plan tiny demo a").has("TOOLCHAIN").has("status 3");
}

#[test]
fn hostile_text_of_a_recipe_has_no_power_over_the_terminal() {
    let tree = Tree::new()
        .package("a", "build() {\n\tprintf 'error: \\033[2J\\033]0;title\\007 \\r over\\n'\n\tfalse\n}\n");
    let ran = tree.mk("tiny demo a");
    assert!(
        !ran.stderr.contains('\u{1b}') && !ran.stderr.contains('\r') && !ran.stderr.contains('\u{7}'),
        "{:?}",
        ran.stderr
    );
    let tree = Tree::new().package("a", "VERSION=$'1\\e[31m'\n");
    let ran = tree.mk("plan tiny demo a");
    assert!(!ran.stdout.contains('\u{1b}'), "{:?}", ran.stdout);
}

// Folders

#[test]
fn a_workspace_that_is_not_there_is_named() {
    Tree::new().mk("-C nowhere plan tiny demo").is("
        ! error: there is no workspace `nowhere`
        ! hint: if that is the place, make it: `mkdir -p nowhere`
        status 5
    ");
}

#[test]
fn a_workspace_that_cannot_be_written_is_said_so() {
    let tree = Tree::new().package("a", "");
    fs_err::write(tree.at("workspace/tiny-demo"), "a file in the way").unwrap();
    tree.mk("tiny demo a").has("/workspace/tiny-demo").has("status 5");
}

#[test]
fn what_cannot_be_read_is_told_and_not_taken_for_absent() {
    let tree = Tree::new()
        .file("board/tiny/TOOLCHAIN", "X=1\n")
        .package("a", "DEPENDS=b\nbuild() { :; }")
        .package("b", "VERSION=1\nDESCRIPTION='what b is'\nbuild() { :; }")
        .file("pkg/b/fix.patch", "text\n");
    let denied = |path: &str, words: &str, expected: &str| {
        let path = tree.at("tree").join(path);
        let mode = fs_err::metadata(&path).unwrap().permissions();
        fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).unwrap();
        tree.run(&mut tree.command_of_nobody(&words.split(' ').collect::<Vec<_>>())).is(expected);
        fs_err::set_permissions(&path, mode).unwrap();
    };
    denied(
        "pkg/b/build",
        "tiny demo b",
        "
        ! error: failed to open file `/tree/pkg/b/build`: Permission denied (os error 13)
        ! hint: it must be readable by the user who runs `mk`
        status 5
    ",
    );
    denied(
        "pkg/b/fix.patch",
        "tiny demo b",
        "
        ! error: failed to open file `/tree/pkg/b/fix.patch`: Permission denied (os error 13)
        ! hint: it must be readable by the user who runs `mk`
        status 5
    ",
    );
    for package in ["a", "b"] {
        denied(
            "pkg/b",
            &format!("tiny demo {package}"),
            "
            ! error: cannot read `pkg/b`: Permission denied (os error 13)
            ! hint: it must be readable by the user who runs `mk`
            status 5
        ",
        );
    }
    denied(
        "pkg/b",
        "list packages",
        "
        a
        b    (cannot be read: failed to open file `/tree/pkg/b/build`: Permission denied (os error 13))
    ",
    );
    denied(
        "board/tiny/TOOLCHAIN",
        "tiny demo b",
        "
        ! error: failed to open file `/tree/board/tiny/TOOLCHAIN`: Permission denied (os error 13)
        ! hint: it must be readable by the user who runs `mk`
        status 5
    ",
    );
    denied(
        "board/tiny",
        "tiny demo b",
        "
        ! error: cannot read `board/tiny`: Permission denied (os error 13)
        ! hint: it must be readable by the user who runs `mk`
        status 5
    ",
    );
}

#[test]
fn a_read_only_workspace_is_said_so_and_planned_in_all_the_same() {
    let tree = Tree::new().package("a", "VERSION=1");
    let workspace = tree.at("workspace");
    fs_err::set_permissions(&workspace, std::fs::Permissions::from_mode(0o555)).unwrap();
    // Root writes everywhere.
    let is_root = fs_err::write(workspace.join("probe"), "").is_ok();
    tree.mk("plan tiny demo a").is("build  a 1  (never built)\n");
    if !is_root {
        tree.mk("tiny demo a")
            .has("Permission denied")
            .has("hint: the folder must be writable")
            .has("status 5");
    }
    fs_err::set_permissions(&workspace, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_store_that_is_none_is_left_alone() {
    let tree = Tree::new().package("a", "").file("keep", "letter");
    tree.mk("--store ../tree tiny demo a").has("is not a store").has("status 5");
    tree.mk("--store /dev/null/store tiny demo a").has("/dev/null/store").has("status 5");
    assert!(!tree.at("tree/entry").exists());
}

#[test]
fn a_file_that_lies_where_a_result_is_shown_gives_way_and_a_source_folder_does_not() {
    let tree = Tree::new().archive("a-1.tar.gz", &[("a-1/text", "text\n")]).package(
        "a",
        "URL=ARCHIVES TARBALL=a-1.tar.gz SRCDIR=a-1 SHA256SUM=SHA256(a-1.tar.gz)\ndeploy() { touch $2/x; }",
    );
    fs_err::create_dir_all(tree.at("workspace/src/a-1")).unwrap();
    fs_err::write(tree.at("workspace/src/a-1/mine"), "mine").unwrap();
    fs_err::create_dir_all(tree.built("deploy/a/old")).unwrap();
    tree.builds("a");
    assert_eq!(tree.list_deployed("a"), ["x"]);
    assert_eq!(fs_err::read_to_string(tree.at("workspace/src/a-1/mine")).unwrap(), "mine");
}

#[test]
fn a_recipe_with_the_line_ends_of_windows_is_named_where_it_is_wrong() {
    for (line, said) in [
        ("false", "2: `false` failed with status 1 while the recipe was read"),
        ("nothing", "2: nothing: command not found"),
        ("if", "4: syntax error near unexpected token `}'"),
    ] {
        let recipe = format!("VERSION=1\r\n{line}\r\nbuild() {{\r\n}}\r\n");
        let ran = Tree::new().package("a", &recipe).mk("plan tiny demo a").text();
        assert!(ran.contains(&format!("! error: pkg/a/build:{said}")), "{ran}");
    }
}

// Recipes that one bash reads in a row

#[test]
fn a_recipe_that_does_not_end_where_it_should_spoils_no_other() {
    let good =
        |name: &str| format!("VERSION=\"1\"\nNAME=\"{name}-$VERSION\"\n\nbuild() {{\n\techo \"$NAME\"\n}}\n");
    for broken in [
        "\techo ${x",
        "\t((",
        "\t{",
        "\tif true; then",
        "\tcase x in",
        "\techo $(",
        "\techo \"${x:-'\"'\" \"'}\"",
        "\techo '\n",
        "\techo \\",
        "\tcat <<E",
    ] {
        let bad = format!("VERSION=\"2\"\nNAME=\"bad-$VERSION\"\n\nbuild() {{\n{broken}\n}}\n");
        let tree = Tree::new()
            .package("all", "DEPENDS=\"a b c\"\n\nbuild() {\n\t:\n}\n")
            .package("a", &good("a"))
            .package("b", &bad)
            .package("c", &good("c"));
        let ran = tree.mk("plan tiny demo all");
        assert!(ran.status == 3 && ran.stderr.contains("pkg/b/build"), "{broken}: {}", ran.text());
        for name in ["a", "c"] {
            tree.builds(name);
            assert!(tree.log(name, "build").contains(&format!("{name}-1")), "{broken}");
        }
    }
}

#[test]
fn a_function_with_the_name_of_a_builtin_reaches_no_other_recipe() {
    for name in ["printf", "declare", "unset", "builtin"] {
        let recipe = |name: &str| format!("VERSION=\"1\"\nX=\"$VERSION\"\n\n{name}() {{\n\texit 9\n}}\n");
        let tree = Tree::new()
            .package("all", "DEPENDS=\"bad good\"\n\nbuild() {\n\t:\n}\n")
            .package("bad", &recipe(name))
            .package("good", &recipe("build"));
        let ran = tree.mk("plan tiny demo all");
        let named = ran.status == 0 || ran.stderr.starts_with("error: pkg/bad/build");
        assert!(named, "{name}: {}", ran.text());
        tree.mk("plan tiny demo good").is("
            build  good 1  (never built)
        ");
    }
}
