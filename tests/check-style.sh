#!/bin/bash
# House rules that no other tool checks (CONTRIBUTING.md): caps, includes, layers, banned functions, left-over notes.
# Prints "file:line: what is wrong" and ends with 1 where something is. Files: those that git tracks and new ones.
#
#   tests/check-style.sh [FILE…]
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."

FILE_CAP=800
FUNCTION_CAP=80
BANNED='strcpy|strcat|sprintf|vsprintf|gets|system|popen|tmpnam|mktemp'

# Which folders a folder may include. Programs may use every library, and nothing of each other.
LIBRARIES='base proto bus kube objects'
declare -A MAY=(
  [base]='base'
  [proto]='base proto'
  [kube]='base kube'
  [objects]='base proto kube objects'
  [bus]="$LIBRARIES" # its client needs base and proto; the broker itself reads Secrets through kube
  [watcher]="$LIBRARIES watcher"
  [reconcilers]="$LIBRARIES reconcilers"
  [storage-agent]="$LIBRARIES storage-agent"
  [cli]="$LIBRARIES cli"
)

# The repository's own text files; generated ones (go.sum) and the licence are not ours to shape.
list_files() {
  local file
  { git -c safe.directory="$PWD" ls-files --cached --others --exclude-standard --deduplicate 2>/dev/null ||
    find . -path './build*' -prune -o -type f -printf '%P\n'; } |
    while IFS= read -r file; do
      case $file in
      LICENSE | *.sum | *.png | *.svg | *.gz) ;;
      *) if [[ -f $file && ! -L $file ]]; then printf '%s\n' "$file"; fi ;;
      esac
    done
}

check_file_cap() {
  awk -v cap="$FILE_CAP" 'FNR == cap + 1 { printf "%s:%d: the file is longer than %d lines\n", FILENAME, FNR, cap }' "$@"
}

# By the house format a function's body stands between braces in the first column, and its head right above.
check_functions() {
  awk -v cap="$FUNCTION_CAP" '
    FNR == 1 { head = 0; body = 0 }
    /^[A-Za-z_]/ && !body { head = FNR }
    /^\{/ { body = head ? head : FNR }
    /^\}/ && body {
      if (FNR - body + 1 > cap)
        printf "%s:%d: the function has %d lines, %d are allowed\n", FILENAME, body, FNR - body + 1, cap
      body = 0; head = 0
    }' "$@"
}

# C without comments and without what stands in quotes; line breaks stay, so line numbers do.
strip_c() {
  awk '
    FNR == 1 { comment = 0 }
    {
      out = ""; quote = ""
      for (i = 1; i <= length($0); i++) {
        c = substr($0, i, 1); two = substr($0, i, 2)
        if (comment) { if (two == "*/") { comment = 0; i++ } }
        else if (quote != "") { if (c == "\\") i++; else if (c == quote) { quote = ""; out = out c } }
        else if (two == "/*") { comment = 1; i++ }
        else if (two == "//") break
        else if (c == "\"" || c == "\047") { quote = c; out = out c }
        else out = out c
      }
      printf "%s:%d:%s\n", FILENAME, FNR, out
    }' "$@"
}

check_banned() {
  strip_c "$@" | grep -E "^[^:]*:[0-9]+:(.*[^A-Za-z0-9_.>])?($BANNED)[[:space:]]*\(" |
    sed -E "s/^([^:]*:[0-9]+):(.*[^A-Za-z0-9_.>])?($BANNED)[[:space:]]*\(.*/\1: \3 is banned (no bound, no error, or a shell)/" || true
}

check_includes() {
  local place path from to
  while IFS=: read -r file place path; do
    from=${file%%/*} to=${path%%/*}
    if [[ $path != */* || $path == *..* || (-z ${MAY[$to]:-} && $to != tests) ]]; then
      printf '%s:%s: include "%s" is not written from the root\n' "$file" "$place" "$path"
    elif [[ -n ${MAY[$from]:-} && " ${MAY[$from]} " != *" $to "* ]]; then
      printf '%s:%s: %s must not include "%s" (CONTRIBUTING.md: layers point one way)\n' "$file" "$place" "$from" "$path"
    fi
  done < <(grep -nHE '^[[:space:]]*#[[:space:]]*include[[:space:]]*"' "$@" |
    sed -E 's/^([^:]*):([0-9]+):[^"]*"([^"]*)".*/\1:\2:\3/')
}

check_guards() {
  local file
  for file in "$@"; do
    [[ $file != *.h ]] || grep -qE '^#ifndef KFX_[A-Z0-9_]+_H$' "$file" || printf '%s:1: no include guard KFX_…_H\n' "$file"
  done
}

# Put together, so that this file does not find itself.
check_notes() { grep -nHwE "TO""DO|FIX""ME|X""XX" "$@" | sed -E 's/^([^:]*:[0-9]+):.*/\1: a left-over note: do it or open an issue/' || true; }

check_blanks() {
  grep -nHE '[[:blank:]]+$|'$'\r' "$@" | sed -E 's/^([^:]*:[0-9]+):.*/\1: blanks or CR at the end of the line/' || true
  local file
  for file in "$@"; do
    [[ ! -s $file || -z $(tail -c 1 "$file") ]] || printf '%s:1: no line break at the end of the file\n' "$file"
  done
}

main() {
  local all=() code=() file found
  if (($#)); then all=("$@"); else mapfile -t all < <(list_files); fi
  for file in "${all[@]}"; do
    if [[ $file == *.[ch] ]]; then code+=("$file"); fi
  done
  found=$(
    check_file_cap "${all[@]}"
    check_notes "${all[@]}"
    check_blanks "${all[@]}"
    if ((${#code[@]})); then
      check_functions "${code[@]}"
      check_banned "${code[@]}"
      check_includes "${code[@]}"
      check_guards "${code[@]}"
    fi
  )
  [[ -n $found ]] || exit 0
  printf '%s\n' "$found"
  exit 1
}

main "$@"
