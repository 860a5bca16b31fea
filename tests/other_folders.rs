//! A recipe that sources another one works with that one's files; a shell has what its steps would have.

use std::path::Path;
use std::process::{Command, Output, Stdio};

fn write(path: &Path, text: &str) {
    fs_err::create_dir_all(path.parent().unwrap()).unwrap();
    fs_err::write(path, text).unwrap();
}

/// A tree in which `second` sources the recipe of `first`, which uses a file beside it.
fn tree(root: &Path) {
    write(&root.join("tree/board/tiny/ROOTFS"), "");
    write(&root.join("tree/product/demo/ROOTFS"), "");
    write(&root.join("tree/pkg/first/text"), "one\n");
    let recipe = "deploy() {\n\tcp \"$SCRIPTDIR/pkg/first/text\" \"$2/text\"\n}\n";
    write(&root.join("tree/pkg/first/build"), recipe);
    write(&root.join("tree/pkg/second/build"), "source \"$SCRIPTDIR/pkg/first/build\"\n");
    fs_err::create_dir(root.join("work")).unwrap();
}

fn mk(root: &Path, line: &str, input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mk"));
    command.arg("--tree").arg(root.join("tree")).arg("--store").arg(root.join("store"));
    command.arg("--workspace").arg(root.join("work")).args(line.split(' '));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn the_files_beside_a_sourced_recipe_are_in_the_room_and_in_the_key() {
    let dir = tempfile::tempdir().unwrap();
    tree(dir.path());
    let text = dir.path().join("work/tiny-demo/deploy/second/text");
    for content in ["one\n", "two\n"] {
        write(&dir.path().join("tree/pkg/first/text"), content);
        let output = mk(dir.path(), "tiny demo second", "");
        assert!(output.status.success(), "{}", stderr(&output));
        assert_eq!(fs_err::read_to_string(&text).unwrap(), content);
    }
}

#[test]
fn a_shell_that_reads_a_pipe_has_the_arguments_of_the_steps() {
    let dir = tempfile::tempdir().unwrap();
    tree(dir.path());
    let output =
        mk(dir.path(), "shell tiny demo second", "echo \"$PWD $2\"\ndeploy \"$1\" \"$2\"\ncat \"$2/text\"\n");
    let answer = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(answer, "/mk/root/build /mk/root/deploy/second\none\n", "{}", stderr(&output));
    assert_eq!(stderr(&output), "");
}
