# Runs one step of a recipe: step.sh LIBRARY PRELUDE STEP
#
# The prelude sets the variables that the recipe may see, MK_RECIPE, MK_REPORT (a folder that takes what the step asked for
# and how it failed) and MK_ARGUMENTS (those of the step's function). Standard output and error are the step's log.

mk_report() {
	printf '%s\0%s\0' "$1" "$2" >> "$MK_REPORT/seen"
}

# Writes one record of a failed command: status, depth of subshells, the command, and the call stack, innermost first.
mk_failed() {
	local status="$1" depth="$2" command="$3" i
	{
		printf 'failure\0%s %s\0command\0%s\0' "$status" "$depth" "$command"
		for ((i = 1; i < ${#FUNCNAME[@]}; i++)); do
			printf 'frame\0%s %s %s\0' "${BASH_LINENO[i - 1]}" "${FUNCNAME[i]}" "${BASH_SOURCE[i]}"
		done
	} >> "$MK_REPORT/failure"
}

mk_library="$1"
mk_prelude="$2"
mk_step="$3"
source "$mk_library"
builtin source "$mk_prelude"
shopt -s inherit_errexit
trap 'mk_failed "$?" "$BASH_SUBSHELL" "$BASH_COMMAND"' ERR
set -eE
# Not by the library's `source`: no function stands between, and the recipe is known to be an input.
builtin source "$MK_RECIPE"
mk_restore
# A plain command: `set -e` is off inside a function that is called in a condition.
"$mk_step" "${MK_ARGUMENTS[@]}"
