# the toolchain from source comes out the same, byte for byte, when it is built again elsewhere
# shellcheck shell=bash

own="$WORKSPACE/verify-tree"
mkdir -p "$own/product/source"
cp -r "$TREE/pkg" "$TREE/board" "$own"
echo 'TOOLCHAINPKG="tc-source"' >"$own/product/source/TOOLCHAIN"

TREE="$own" mk qemu-x86_64 source toolchain
TREE="$own" mk verify qemu-x86_64 source tc-gmp tc-mpfr tc-mpc tc-pkg-config tc-binutils tc-gcc1 musl tc-gcc2 toolchain
