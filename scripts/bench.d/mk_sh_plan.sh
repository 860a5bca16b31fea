#!/usr/bin/env bash
# What Pygos's mk.sh does before it builds anything: prints the packages in build order.
#
# usage: mk_sh_plan.sh TREE, which holds util/ of Pygos
set -e
SCRIPTDIR="$1"
# shellcheck disable=SC2034 # the functions use them
BOARD="bench" PRODUCT="bench"
# shellcheck disable=SC1091 # only in a tree that was given Pygos's own files
source "$SCRIPTDIR/util/depends.sh"
# shellcheck disable=SC1091
source "$SCRIPTDIR/util/override.sh"
include_merge TOOLCHAIN
include_pkg release-bench
dependencies | tsort | tac
