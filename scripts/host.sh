# Shared by the commands in this folder: where the tree is, a HOME, cargo on PATH, and how to say no.

TREE=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export HOME="${HOME:-$(getent passwd "$(id -u)" | cut -d: -f6)}"
export PATH="$PATH:$HOME/.cargo/bin"

# fail MESSAGE [HINT]
fail() {
	echo "error: $1" >&2
	[ -z "${2:-}" ] || echo "hint: $2" >&2
	exit 1
}

# mk_program: the program that `cargo build --release` makes.
mk_program() {
	echo "${CARGO_TARGET_DIR:-$TREE/target}/release/mk"
}
