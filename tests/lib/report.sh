# shellcheck shell=bash
# Steps, their time limits, and what is counted. Read in by tests/run.
#
# A step is a function step_NAME in tests/lib/step, run by `timeout` in a process of its own. It may leave results, one a
# test, in $KT_LOGS/NAME.results: "pass|fail|skip<TAB>test<TAB>reason".

# shellcheck disable=SC2034 # the lock is held while its descriptor is open
report_start() {
  KT_LOGS=${KUBEFLEX_TEST_LOGS:-$(mktemp -d /tmp/kubeflex-test.XXXXXX)}
  KT_BUILD=${KUBEFLEX_TEST_BUILD:-$KT_REPO/build-test}
  mkdir -p "$KT_LOGS" "$KT_BUILD" || exit 1
  KT_LOGS=$(readlink -f "$KT_LOGS")
  KT_BUILD=$(readlink -f "$KT_BUILD")
  export KT_LOGS KT_BUILD
  KT_BEGIN=$(now_ms)
  KT_CHILD=''
  rm -f "$KT_LOGS"/*.results
  : >"$KT_LOGS/all.results"
  exec {KT_LOCK}>"$KT_BUILD/.lock"
  flock -n "$KT_LOCK" || {
    printf 'another tests/run uses %s; waiting for its end\n' "$KT_BUILD"
    flock -w 5400 "$KT_LOCK" || exit 1
  }
}

now_ms() { printf '%s' "$((${EPOCHREALTIME/[.,]/} / 1000))"; }

duration() {
  local ms=$(($(now_ms) - $1))
  if ((ms < 120000)); then printf '%d.%d s' $((ms / 1000)) $((ms % 1000 / 100)); else printf '%d min %02d s' $((ms / 60000)) $((ms / 1000 % 60)); fi
}

# result pass|fail|skip NAME [REASON]
result() { printf '%s\t%s\t%s\n' "$1" "$2" "${3:-}" >>"$KT_LOGS/all.results"; }

# count pass|fail|skip [FILE]
count() { grep -c "^$1"$'\t' "${2:-$KT_LOGS/all.results}" 2>/dev/null || true; }

# counts_text [FILE]: "N passed, N failed", and skipped where there are some.
counts_text() {
  local skipped
  skipped=$(count skip "$@")
  printf '%d passed, %d failed' "$(count pass "$@")" "$(count fail "$@")"
  if ((skipped > 0)); then printf ', %d skipped' "$skipped"; fi
}

# step KIND NAME SECONDS TITLE: KIND check counts as one test, suite as what it reports, setup only when it fails.
# Returns the step's own exit code, 124 when its time was over.
step() {
  local kind=$1 name=$2 limit=$3 title=$4 begin rc
  local log=$KT_LOGS/$name.log results=$KT_LOGS/$name.results
  printf '%-28s ' "$title"
  begin=$(now_ms)
  : >"$results"
  timeout --kill-after=30 "$limit" "$KT_REPO/tests/lib/step" "$name" </dev/null >"$log" 2>&1 {KT_LOCK}>&- &
  KT_CHILD=$!
  wait "$KT_CHILD"
  rc=$?
  KT_CHILD=''
  step_settle "$kind" "$title" "$rc" "$limit" "$results"
  cat "$results" >>"$KT_LOGS/all.results"
  if [[ ! -s $results ]]; then
    printf '%s (%s)\n' "$([[ $kind == setup ]] && printf 'done' || printf '0 tests')" "$(duration "$begin")"
  else
    printf '%s (%s)\n' "$(counts_text "$results")" "$(duration "$begin")"
  fi
  if (($(count fail "$results") > 0)); then step_show "$log"; fi
  return "$rc"
}

# What the step itself adds to the results of its tests.
step_settle() {
  local kind=$1 title=$2 rc=$3 limit=$4 results=$5
  if ((rc == 124 || rc == 137)); then
    printf 'fail\t%s\tnot done after %d s\n' "$title" "$limit" >>"$results"
  elif ((rc != 0)) && (($(count fail "$results") == 0)) && [[ ! -s $results || $kind != check ]]; then
    printf 'fail\t%s\tsee the log\n' "$title" >>"$results"
  elif ((rc == 0)) && [[ $kind == check && ! -s $results ]]; then
    printf 'pass\t%s\t\n' "$title" >>"$results"
  fi
}

step_show() {
  printf '  --- the end of %s\n' "$1"
  tail -n 60 "$1" | cut -c 1-400 | sed 's/^/  | /'
}

step_kill() {
  [[ -n $KT_CHILD ]] || return 0
  kill -TERM "$KT_CHILD" 2>/dev/null
  wait "$KT_CHILD"
  KT_CHILD=''
}

# skip_step TITLE REASON: a step that could not run.
skip_step() {
  printf '%-28s skipped: %s\n' "$1" "$2"
  result skip "$1" "$2"
}

report_list() {
  local state=$1 heading=$2 name reason
  (($(count "$state") > 0)) || return 0
  printf '%s:\n' "$heading"
  while IFS=$'\t' read -r _ name reason; do
    printf '  %s%s\n' "$name" "${reason:+ ($reason)}"
  done < <(grep "^$state"$'\t' "$KT_LOGS/all.results")
}

# Prints the summary and ends the run.
report_end() {
  printf '\n'
  report_list skip 'skipped'
  report_list fail 'failed'
  printf 'logs: %s; time: %s\n' "$KT_LOGS" "$(duration "$KT_BEGIN")"
  counts_text
  printf '\n'
  if (($(count fail) == 0)); then exit 0; else exit 1; fi
}
