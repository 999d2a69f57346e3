# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What the scripts share. Sourced, never run.

set -euo pipefail
export LC_ALL=C.UTF-8

scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$(dirname "$scripts")
self=$(basename "$0")

# Where the project's own programs are: GG_BIN_DIR, or what `cargo build --release` makes.
bin_dir=${GG_BIN_DIR:-${CARGO_TARGET_DIR:-$top/target}/release}

note() { printf '%s: %s\n' "$self" "$*" >&2; }

die() {
    note "$*"
    exit 1
}

# Prints the comment at the head of the calling script, which is its manual, and ends.
usage() {
    sed -n '/^# SPDX/d; /^# shellcheck/d; 2,${/^#/!q; s/^# \{0,1\}//; p}' "$0"
    exit "${1:-0}"
}

# Prints the absolute path of one of the project's programs, or ends.
program() {
    [ -x "$bin_dir/$1" ] || die "$bin_dir/$1 is missing: run cargo build --release, or set GG_BIN_DIR"
    printf '%s/%s\n' "$(cd "$bin_dir" && pwd)" "$1"
}

# timed NAME COMMAND…: runs the command and sets NAME_wall and NAME_cpu (seconds, of it and the processes it waited for).
# Its exit code is the command's.
timed() {
    local name=$1 code=0 times TIMEFORMAT='%R %U %S' wall user system
    shift
    times=$(mktemp)
    # The command's own standard error stays what it is; the report of `time` goes to the file.
    { time "$@" 2>&9 9>&-; } 9>&2 2>"$times" || code=$?
    read -r wall user system <<<"$(tail -n 1 "$times")"
    rm -f "$times"
    printf -v "${name}_wall" %s "$wall"
    printf -v "${name}_cpu" %s "$(awk -v u="$user" -v s="$system" 'BEGIN { printf "%.3f", u + s }')"
    return "$code"
}

# ratio A B: A ÷ B with three decimals, "-" where B is 0.
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { if (b > 0) printf "%.3f\n", a / b; else print "-" }'; }

# The median of the numbers on standard input.
median() {
    sort -g | awk '{ v[NR] = $1 } END { if (NR) printf "%.3f\n", NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'
}
