#!/usr/bin/env bash
# What no driver of bash recipes can be below: one warm bash that runs nothing but the recipes' own steps, each package in
# a forked subshell. Nothing is checked, unpacked, staged or stripped.
#
# usage: floor.sh TREE FOLDER; packages are read from standard input, in build order
set -e
TREE="$1"
# shellcheck disable=SC2034 # the recipes use it
TARGET="bench-linux-gnu"
mkdir -p "$2/build" "$2/deploy"
cd "$2/build"
while read -r name; do
	(
		# shellcheck disable=SC1090 # the recipe
		source "$TREE/pkg/$name/build"
		build "$2/src" "$2/deploy/$name"
		deploy "$2/src" "$2/deploy/$name"
	) >>"$2/log" 2>&1 </dev/null
done
