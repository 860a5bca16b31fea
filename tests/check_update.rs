//! `mk check-update` against a real server on loopback that lists folders as real servers do.

mod loopback;

use std::collections::BTreeMap;

use loopback::{Case, Ran, Reply, apache, feed, nginx};

/// What the run printed, with its code; the last line on standard error is the count.
fn assert_ran(ran: &Ran, code: i32, out: &str, err: &str) {
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (code, out, err), "{ran:#?}");
}

#[test]
fn a_newer_archive_in_an_apache_listing_is_found() {
    let case = Case::new();
    case.package("zlib", "1.2.13", &case.server.url("/pub"), "");
    let names = [
        "zlib-1.2.13.tar.gz",
        "zlib-1.2.13.tar.gz.asc",
        "zlib-1.10.tar.gz",
        "zlib-1.9.tar.gz",
        "zlib-2.0-rc1.tar.gz",
    ];
    case.server.put("/pub/", apache("/pub", &names));
    let table = "package  version  newer  found\nzlib     1.2.13   1.10   @/pub/zlib-1.10.tar.gz\n";
    assert_ran(&case.mk("check-update"), 10, table, "note: 1 newer, 0 current, 0 failed, 0 unchecked\n");
}

#[test]
fn nothing_newer_in_an_nginx_listing_is_no_news() {
    let case = Case::new();
    case.package("nginx", "1.22.1", &case.server.url("/download/"), "");
    case.server.put(
        "/download/",
        nginx("/download/", &["nginx-1.22.0.tar.gz", "nginx-1.22.1.tar.gz", "nginx-1.22.1.zip"]),
    );
    assert_ran(&case.mk("check-update nginx"), 0, "", "note: 0 newer, 1 current, 0 failed, 0 unchecked\n");
}

#[test]
fn a_plain_listing_and_a_folder_of_this_machine_do_as_well() {
    let case = Case::new();
    case.package("a", "1.0", &case.server.url("/plain"), "");
    case.server.put("/plain/", "-rw-r--r-- 1 ftp ftp 17 Jan 01 2024 a-1.0.tar.gz\n-rw-r--r-- 1 ftp ftp 17 Jan 01 2024 a-1.1.tar.gz\n");
    case.write("mirror/b-1.0.tar.gz", "");
    case.write("mirror/b-1.0a.tar.gz", "");
    case.package("b", "1.0", &format!("file://{}", case.path("mirror").display()), "");
    let ran = case.mk("check-update -q");
    let table = "package  version  newer  found\na        1.0      1.1    @/plain/a-1.1.tar.gz\nb        1.0      1.0a   file://~/mirror/b-1.0a.tar.gz\n";
    assert_ran(&ran, 10, table, "");
}

#[test]
fn a_release_feed_is_read_through_the_proxy_of_the_environment() {
    let mut case = Case::new();
    case.package("zstd", "1.5.4", "http://github.com/facebook/zstd/releases/download/v1.5.4", "");
    case.package("lz4", "1.9.4", "http://github.com/lz4/lz4/archive/refs/tags/v1.9.4/", "");
    case.server.put(
        "http://github.com/facebook/zstd/releases.atom",
        feed("facebook/zstd", &["v1.5.7", "v1.6.0-beta1", "v1.5.4", "zlib-v1"]),
    );
    // Nothing in the first feed, so the second is asked.
    case.server.put("http://github.com/lz4/lz4/releases.atom", feed("lz4/lz4", &[]));
    case.server.put("http://github.com/lz4/lz4/tags.atom", feed("lz4/lz4", &["v1.10.0", "v1.9.4"]));
    case.environment.push(("http_proxy".into(), case.server.address.clone()));
    let table = "package  version  newer   found\n\
        lz4      1.9.4    1.10.0  http://github.com/lz4/lz4/releases/tag/v1.10.0\n\
        zstd     1.5.4    1.5.7   http://github.com/facebook/zstd/releases/tag/v1.5.7\n";
    assert_ran(&case.mk("check-update -q"), 10, table, "");
}

#[test]
fn newer_folders_are_looked_into_where_the_version_is_in_a_folders_name() {
    let case = Case::new();
    let server = &case.server;
    case.package("util-linux", "2.38.1", &server.url("/util-linux/v2.38"), "");
    server.put("/util-linux/v2.38/", nginx("", &["util-linux-2.38.1.tar.gz", "util-linux-2.38.tar.gz"]));
    server.put("/util-linux/", nginx("", &["v2.9/", "v2.37/", "v2.38/", "v2.39/", "v2.40/", "v2.41/"]));
    server.put("/util-linux/v2.41/", nginx("", &["util-linux-2.41-rc1.tar.gz"]));
    server.put("/util-linux/v2.40/", nginx("", &["util-linux-2.40.4.tar.gz", "util-linux-2.40.tar.gz"]));
    case.package("gcc", "12.2.0", &server.url("/gcc/gcc-12.2.0/"), "");
    // The folder is there, but does not let itself be listed.
    server.put("/gcc/", apache("/gcc", &["gcc-12.2.0/", "gcc-13.1.0/", "gcc-4.9.4/"]));
    let table = "package     version  newer   found\n\
        gcc         12.2.0   13.1.0  @/gcc/gcc-13.1.0\n\
        util-linux  2.38.1   2.40.4  @/util-linux/v2.40/util-linux-2.40.4.tar.gz\n";
    assert_ran(&case.mk("check-update -q"), 10, table, "");
}

#[test]
fn of_several_urls_the_first_that_lists_such_a_name_decides() {
    let case = Case::new();
    let urls = format!("{} {} apt:a=1.0-1", case.server.url("/gone"), case.server.url("/mirror"));
    case.package("a", "1.0", &urls, "");
    case.package("b", "1.0", "apt:b=1.0-1", "");
    case.server.put("/mirror/", nginx("", &["a-1.0.tar.gz", "a-1.1.tar.gz"]));
    let ran = case.mk("check-update --format json");
    assert_eq!(ran.code, 10);
    let listing: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let expected = serde_json::json!({"packages": [
        {"name": "a", "version": "1.0", "status": "newer", "newer": "1.1", "found": "@/mirror/a-1.1.tar.gz", "reason": null},
        {"name": "b", "version": "1.0", "status": "unchecked", "newer": null, "found": null, "reason": "no URL of it is a folder that could be listed"},
    ]});
    assert_eq!(listing, expected);
}

#[test]
fn what_fails_is_told_and_keeps_nothing_else_from_being_told() {
    let case = Case::new();
    let server = &case.server;
    let listing = |name: &str| nginx("", &[&format!("{name}-1.0.tar.gz"), &format!("{name}-1.1.tar.gz")]);
    for name in ["cut", "error", "gone", "good", "moved", "other", "slow", "twice"] {
        case.package(name, "1.0", &server.url(&format!("/{name}")), "");
        server.put(&format!("/{name}/"), listing(name));
    }
    server.put("/gone/", Reply::Status("404 Not Found"));
    server.put("/error/", Reply::Status("500 Internal Server Error"));
    server.put("/slow/", Reply::Stalls(b"<a href=\"slow-1.1.tar.gz\">".to_vec()));
    server.put(
        "/cut/",
        Reply::Truncated(b"<a href=\"cut-1.1.tar.gz\"></a><a href=\"cut-1.2.tar.gz\"></a>".to_vec(), 40),
    );
    server.put("/other/", nginx("", &["something-else-1.1.tar.gz"]));
    server.put("/moved/", Reply::Redirect("/new/".into()));
    server.put("/new/", listing("moved"));
    // It goes well when tried again.
    server.put("/twice/", Reply::Then(Box::new(Reply::Status("503 Busy")), Box::new(listing("twice"))));
    case.recipe("broken", "VERSION=1.0\nif\n");
    let ran = case.mk("check-update --timeout 4");
    assert_eq!(ran.code, 10, "{ran:#?}");
    let newer: Vec<&str> = ran.out.lines().skip(1).map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(newer, ["good", "moved", "twice"], "{ran:#?}");
    for line in [
        "note: cut: cannot be checked: `@/cut/`: the answer broke off",
        "note: error: cannot be checked: `@/error/`: the server answered 500 Internal Server Error",
        "note: gone: cannot be checked: `@/gone/`: the server answered 404 Not Found",
        "note: other: cannot be checked: `@/other`: nothing like `other-1.0.tar.gz` is listed",
        "note: slow: cannot be checked: `@/slow/`: no answer in time",
        "note: 3 newer, 0 current, 6 failed, 0 unchecked",
    ] {
        assert!(ran.err.lines().any(|found| found == line), "{line}\n{ran:#?}");
    }
    assert!(ran.err.contains("note: broken: cannot be checked: pkg/broken/build:"), "{ran:#?}");
    assert_eq!(server.asked().iter().filter(|path| *path == "/error/").count(), 2);
}

#[test]
fn a_recipe_asks_in_its_own_way() {
    let case = Case::new();
    let ask = |page: &str| {
        format!(
            "check_update() {{\n\tcurl -sL \"$URL/{page}\" | grep -o 'x-[0-9.]*[0-9]' | sed 's/x-//' | verson_find_greatest \"$VERSION\"\n}}\n"
        )
    };
    case.server.put("/page", "x-0.9.tar.gz x-1.0.tar.gz x-1.10.tar.gz x-1.9.tar.gz");
    case.server.put("/old", "x-0.9.tar.gz");
    case.server.put("/none", "nothing here");
    for (name, page) in [("newer", "page"), ("old", "old"), ("none", "none"), ("gone", "404")] {
        case.package(name, "1.0", &case.server.address, &ask(page));
    }
    case.package("empty", "1.0", &case.server.address, "check_update() {\n\treturn\n}\n");
    case.package("page", "1.0", &case.server.address, "check_update() {\n\techo '<html> 1.1'\n}\n");
    case.package("tool", "1.0", &case.server.address, "check_update() {\n\tno-such-tool | sort\n}\n");
    case.recipe("meta", "DEPENDS=\"\"\n");
    for rooms in ["auto", "never"] {
        let ran = case.mk(&format!("check-update --rooms {rooms} --retries 0"));
        let err: String = ran
            .err
            .lines()
            .filter(|line| !line.contains("no rooms"))
            .map(|line| format!("{line}\n"))
            .collect();
        let expected = "note: gone: cannot be checked: check_update: `curl` ended with status 22: curl: (22) The requested URL returned error: 404\n\
            note: page: cannot be checked: check_update: it printed what is no version: `<html> 1.1`\n\
            note: tool: cannot be checked: check_update: this machine has no `no-such-tool`: no-such-tool: command not found\n\
            note: 1 newer, 2 current, 3 failed, 2 unchecked\n";
        let table = "package  version  newer  found\nnewer    1.0      1.10   check_update\n";
        assert_ran(&Ran { err, ..ran }, 10, table, expected);
    }
}

#[test]
fn a_recipe_that_hangs_is_ended_and_told() {
    let case = Case::new();
    case.package(
        "hangs",
        "1.0",
        "http://127.0.0.1:1",
        "check_update() {\n\twhile :; do sleep 1000 & wait; done\n}\n",
    );
    case.package("quick", "1.0", "http://127.0.0.1:1", "check_update() {\n\techo 1.1\n}\n");
    let ran = case.mk("check-update --timeout 3 --retries 0");
    assert_eq!(ran.code, 10, "{ran:#?}");
    assert!(ran.out.contains("quick    1.0      1.1    check_update"), "{ran:#?}");
    assert!(
        ran.err.contains("note: hangs: cannot be checked: check_update: no answer within 3 s"),
        "{ran:#?}"
    );
}

#[test]
fn where_everything_failed_the_code_says_so() {
    let case = Case::new();
    case.package("gone", "1.0", &case.server.url("/gone"), "");
    assert_eq!(case.mk("check-update").code, 4);
}

#[test]
fn words_that_make_no_sense_are_refused() {
    let case = Case::new();
    case.package("zlib", "1.0", &case.server.url("/x"), "");
    let ran = case.mk("check-update zlip");
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("hint: did you mean `zlib`?"), "{ran:#?}");
    let ran = case.mk("check-update --board c");
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("unknown board `c`"), "{ran:#?}");
    assert_eq!(case.mk("check-update --offline").code, 2);
    assert!(case.server.asked().is_empty());
}

#[test]
fn the_first_pair_of_board_and_product_that_goes_together_is_taken() {
    let case = Case::new();
    case.write("tree/product/a/BOARDS", "other\n");
    case.write("tree/board/other/TOOLCHAIN", "KIND=other\n");
    case.write("tree/board/b/TOOLCHAIN", "KIND=b\n");
    case.recipe("x", "VERSION=1\nURL=$KIND\ncheck_update() {\n\techo \"2-$BOARD-$PRODUCT-$KIND\"\n}\n");
    let newer =
        |options: &str| case.mk(&format!("check-update -q {options}")).out.lines().nth(1).unwrap().to_owned();
    assert!(newer("").contains("2-other-a-other"));
    assert!(newer("--product p").contains("2-b-p-b"));
    assert!(newer("--board b").contains("2-b-p-b"));
}

#[test]
fn recipes_of_the_tree_find_a_newer_version_where_their_upstream_lists_it() {
    let mut case = Case::new();
    // The server stands in for all others, as a proxy, which sees what is asked of http alone.
    case.environment.push(("http_proxy".into(), case.server.address.clone()));
    let tree = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    for top in ["pkg", "board/qemu-x86_64"] {
        for entry in walkdir::WalkDir::new(tree.join(top)) {
            let entry = entry.unwrap();
            let path = entry.path().strip_prefix(tree).unwrap();
            if entry.file_type().is_file() {
                let text = fs_err::read(entry.path()).unwrap();
                let text = String::from_utf8_lossy(&text).replace("https://", "http://");
                case.write(&format!("tree/{}", path.display()), text);
            }
        }
    }
    let rows: Vec<Vec<&str>> = include_str!("fixture/upstreams")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split('\t').collect())
        .collect();
    for row in &rows {
        let [_, _, form, page, names] = row[..] else { panic!("{row:?}") };
        let (url, names) = (format!("http://{page}"), names.split(' ').collect::<Vec<_>>());
        let reply = match form {
            "apache" => apache(page, &names),
            "nginx" => nginx(page, &names),
            "feed" => feed(page.split_once('/').unwrap().1.trim_end_matches("/releases.atom"), &names),
            "links" => links(&names),
            "sourceforge" => {
                let urls: Vec<String> = names.iter().map(|name| format!("{url}{name}/download")).collect();
                links(&urls.iter().map(String::as_str).collect::<Vec<_>>())
            }
            "comment" => Reply::Whole(format!("<html><!--\n{}\n--></html>\n", names.join("\n")).into()),
            "text" => Reply::Whole(format!("<html><p>{}</p></html>\n", names.join(" ")).into()),
            _ => panic!("{row:?}"),
        };
        case.server.put(&url, reply);
    }
    let ran = case.mk("check-update -q --retries 0 --format json");
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap_or_else(|e| panic!("{e}: {ran:#?}"));
    let answers: BTreeMap<&str, &serde_json::Value> = json["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|answer| (answer["name"].as_str().unwrap(), answer))
        .collect();
    for row in rows.iter().filter(|row| row[0] != "-") {
        assert_eq!(answers[row[0]]["newer"], row[1], "{}", answers[row[0]]);
    }
}

/// A page with links.
fn links(targets: &[&str]) -> Reply {
    let links: Vec<String> =
        targets.iter().map(|target| format!("<li><a href=\"{target}\">{target}</a></li>\n")).collect();
    Reply::Whole(format!("<html><a href=\"/\">home</a>\n<ul>{}</ul></html>\n", links.concat()).into())
}
