//! `mk verify`: which packages come out the same when they are built again.

#![allow(clippy::unwrap_used)]

mod harness;

use harness::Tree;

/// A package whose archive is not to be had, and one that needs it.
fn without_archive() -> Tree {
    Tree::new().archive("nf-1.tar.gz", &[("nf-1/file", "x\n")]).package("above", "DEPENDS=nf").package(
        "nf",
        "URL=ARCHIVES/gone TARBALL=nf-1.tar.gz SRCDIR=nf-1 SHA256SUM=SHA256(nf-1.tar.gz)\n",
    )
}

#[test]
fn what_cannot_be_fetched_has_its_exit_code_in_every_command_that_builds() {
    let tree = without_archive();
    for command in
        ["tiny demo nf", "verify tiny demo nf", "pack tiny demo nf", "shell tiny demo nf", "shell tiny demo above"]
    {
        let ran = tree.mk(command);
        ran.has("! error: nf: cannot fetch `nf-1.tar.gz`").has("status 4");
        assert!(!ran.stderr.contains("unknown"), "{command}: {}", ran.text());
    }
}
