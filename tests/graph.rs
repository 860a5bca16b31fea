//! `mk graph`: the tree, DOT, JSON and the picture.

mod fixture;

use fixture::Fixture;

fn fixture() -> Fixture {
    Fixture::new(&[
        ("pkg/release-tiny/build", "LICENSE=MIT\nDEPENDS=\"app base lib\"\n"),
        ("pkg/app/build", "VERSION=1\nDESCRIPTION=\"The <app>\"\nDEPENDS=\"lib base\"\n"),
        ("pkg/lib/build", "VERSION=2\nDEPENDS=\"base\"\n"),
        ("pkg/base/build", ""),
    ])
}

#[test]
fn the_tree_shows_every_package_once_with_what_it_needs() {
    let fixture = fixture();
    assert_eq!(
        fixture.mk("graph tiny demo").ok(),
        "\
release-tiny  (build)
├── app 1  (build)
│   ├── base  (build)
│   └── lib 2  (build)
│       └── base  (build)
├── base  (build)
└── lib 2  (build) ↑
"
    );
    assert_eq!(fixture.mk("graph tiny demo lib").ok(), "lib 2  (build)\n└── base  (build)\n");
    fixture.mk("tiny demo lib").ok();
    assert_eq!(
        fixture.mk("graph tiny demo base --reverse").ok(),
        "\
base
├── app 1  (build)
│   └── release-tiny  (build)
├── lib 2
│   ├── app 1  (build) ↑
│   └── release-tiny  (build)
└── release-tiny  (build)
"
    );
    let ran = fixture.mk("graph tiny demo bse --reverse");
    assert_eq!(ran.status, 2);
    assert!(ran.err.contains("hint: did you mean `base`?"), "{}", ran.err);
}

#[test]
fn a_package_that_nobody_needs_yet_can_be_asked_about() {
    let fixture = Fixture::new(&[
        ("pkg/release-tiny/build", "DEPENDS=\"base\"\n"),
        ("pkg/base/build", ""),
        ("pkg/alone/build", "VERSION=1\nDEPENDS=\"base\"\n"),
    ]);
    fixture.mk("tiny demo alone").ok();
    assert_eq!(fixture.mk("graph tiny demo alone --reverse").ok(), "alone 1\n");
    let users = "base\n├── alone 1\n└── release-tiny  (build)\n";
    assert_eq!(fixture.mk("graph tiny demo alone base --reverse").ok(), format!("alone 1\n{users}"));
    assert_eq!(
        fixture.mk("why tiny demo alone").ok(),
        "alone: reuse: nothing that it depends on has changed\n"
    );
    let ran = fixture.mk("why tiny demo alnoe");
    assert_eq!(ran.status, 2);
    assert!(ran.err.contains("hint: did you mean `alone`?"), "{}", ran.err);
}

#[test]
fn dot_and_json_have_the_edges_that_follow_from_no_others() {
    let fixture = fixture();
    let edges = |words: &str| {
        let text = fixture.mk(words).ok().to_owned();
        text.lines()
            .filter(|line| line.contains("->"))
            .map(|line| line.trim().replace('"', ""))
            .collect::<Vec<_>>()
    };
    assert_eq!(edges("graph tiny demo --dot"), ["lib -> base;", "app -> lib;", "release-tiny -> app;"]);
    assert_eq!(edges("graph tiny demo --dot --all-edges").len(), 6);
    let json = fixture.mk("graph tiny demo --format json").json();
    let app = json["packages"].as_array().unwrap().iter().find(|item| item["name"] == "app").unwrap();
    assert_eq!(app["needs"], serde_json::json!(["base", "lib"]));
    assert_eq!(app["needs_reduced"], serde_json::json!(["lib"]));
    assert_eq!(app["needed_by"], serde_json::json!(["release-tiny"]));
    assert_eq!((&app["state"], &app["seconds"]), (&"build".into(), &serde_json::Value::Null));
}

#[test]
fn the_picture_stands_alone_and_says_state_or_time() {
    let fixture = fixture();
    let text = fixture.mk("graph tiny demo --svg").ok().to_owned();
    assert!(text.starts_with("<svg ") && text.ends_with("</svg>\n"), "{text}");
    assert!(text.contains("prefers-color-scheme: dark") && text.contains("The &lt;app&gt;"));
    assert!(!text.contains("href") && text.matches("http").count() == 1, "only the namespace is an address");
    assert_eq!(text.matches("<rect class=\"box todo\"").count(), 5, "four boxes and the legend");
    assert_eq!(text.matches("<path class=\"edge\"").count(), 3);
    fixture.mk("tiny demo").ok();
    let text = fixture.mk("graph tiny demo --svg --color time").ok().to_owned();
    assert!(text.contains("<rect class=\"box heat"), "{text}");
    let ran = fixture.mk("graph tiny demo --svg --format json");
    assert_eq!(ran.status, 2);
}

#[test]
fn what_failed_last_is_told() {
    let fixture = Fixture::new(&[
        ("pkg/release-tiny/build", "DEPENDS=\"bad\"\n"),
        ("pkg/bad/build", "build() {\n\tfalse\n}\n"),
    ]);
    assert_eq!(fixture.mk("tiny demo").status, 1);
    assert_eq!(fixture.mk("graph tiny demo").ok(), "release-tiny  (build)\n└── bad  (failed)\n");
}
