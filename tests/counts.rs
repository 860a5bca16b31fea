//! What is built again after which change, counted on generated trees of every shape.

#![allow(clippy::unwrap_used)]

mod harness;
mod synthetic;

use std::collections::BTreeSet;

use harness::Tree;
use synthetic::{Graph, Shape};

/// A tree of the harness that holds a generated one.
fn generated(graph: &Graph) -> Tree {
    let tree = Tree::new().env("MK_JOBS", "2");
    graph.write(&tree.at(""), 0);
    fs_err::os::unix::fs::symlink(tree.at("download"), tree.at("workspace/download")).unwrap();
    tree
}

/// Builds, and says which packages were built.
fn built(tree: &Tree) -> BTreeSet<String> {
    let ran = tree.mk("--format json bench bench");
    assert_eq!(ran.status, 0, "{}", ran.text());
    let events = ran.stdout.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    events
        .filter(|event| event["event"] == "package-ended" && event["outcome"] == "built")
        .map(|event| event["package"].as_str().unwrap().to_owned())
        .collect()
}

/// Changes the text of a package's recipe.
fn edit(tree: &Tree, package: &str, change: impl Fn(String) -> String) {
    let recipe = tree.at("tree/pkg").join(package).join("build");
    fs_err::write(&recipe, change(fs_err::read_to_string(&recipe).unwrap())).unwrap();
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn a_change_in_the_middle_builds_its_dependents_and_nothing_else() {
    for (shape, packages) in [(Shape::Random, 60), (Shape::Diamond, 12), (Shape::Chain, 9), (Shape::Wide, 20)]
    {
        let graph = Graph::new(shape, packages, 7);
        let tree = generated(&graph);
        assert_eq!(built(&tree).len(), packages + 3, "{shape:?}");
        let middle = graph.middle();
        edit(&tree, &graph.name(middle), |text| text.replace("EDITION=\"0\"", "EDITION=\"1\""));
        assert_eq!(built(&tree), graph.rebuilt(middle), "{shape:?}");
        assert_eq!(built(&tree), names(&[]), "{shape:?}");
    }
}

#[test]
fn a_change_that_leaves_the_output_builds_one_and_one_without_meaning_builds_none() {
    let graph = Graph::new(Shape::Random, 30, 3);
    let tree = generated(&graph);
    built(&tree);
    let middle = graph.name(graph.middle());
    edit(&tree, &middle, |text| text + "UNUSED=\"1\"\n");
    assert_eq!(built(&tree), names(&[&middle]));
    edit(&tree, &middle, |text| text + "# a comment\n");
    assert_eq!(built(&tree), names(&[]));
    edit(&tree, &middle, |text| text);
    assert_eq!(built(&tree), names(&[]));
}

#[test]
fn nothing_to_do_needs_no_program() {
    let graph = Graph::new(Shape::Random, 30, 5);
    let tree = generated(&graph);
    built(&tree);
    let ran = tree.run(tree.command(&["bench", "bench"]).env("PATH", "/nowhere"));
    ran.is("! nothing to do: 33 packages reused in #s\n");
}

#[test]
fn the_same_words_give_the_same_graph() {
    for shape in [Shape::Random, Shape::Diamond, Shape::Chain, Shape::Wide] {
        let graph = Graph::new(shape, 1_000, 1);
        assert_eq!(graph.needs, Graph::new(shape, 1_000, 1).needs, "{shape:?}");
        assert!(
            graph.needs.iter().enumerate().all(|(package, needs)| needs.iter().all(|&need| need < package))
        );
    }
    let random = |seed| Graph::new(Shape::Random, 1_000, seed);
    assert_ne!(random(1).needs, random(2).needs);
    // Two needs for each package above the lowest layer, about.
    let edges = random(1).needs.iter().map(Vec::len).sum::<usize>();
    assert!((1_500..1_900).contains(&edges), "{edges}");
    assert_eq!(random(1).dependents(random(1).middle()).len(), 9);
}
