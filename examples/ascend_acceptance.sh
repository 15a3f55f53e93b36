#!/usr/bin/env bash
# Accepts an Ascend card: exports a checkpoint for it, compares its answers with the processor's, measures the published
# table, runs the evaluations, and writes all of it into one report.
#
#   examples/ascend_acceptance.sh CHECKPOINT OUT
#
# CHECKPOINT: as `skywork-rt export` takes it, Skywork-13B for the published figures. OUT: a folder, made here; report.md
# is in it. What is there already is not made again, so a run that stopped goes on, and steps that failed are tried again.
#
#   DATA=DIR          with ceval, mmlu and cmmlu in it, or some of them (folders or archives as downloaded): the
#                     evaluations; unset: none
#   BATCH=2 LENGTH=4096 GEARS=1x256,1x1024,2x256,2x1024   shapes of the graphs
#   FORM=assign       form of the cache: assign, indexed or paged
#   WEIGHTS=bf16      of the processor, that the card is compared with: f32 for a checkpoint in float16 or float32, so
#                     that no bit is lost
#   EXPORT_OPTIONS    further options of the export, such as --tokenizer tokenizer.model --config run_skywork_13b.yaml
#   ON=ascend         the backend that is accepted; `native` tries this script without a card
#   LIMIT             questions a subject (all)
#   EVAL_OPTIONS      further options of the evaluations, such as --subjects law,physician
#   REPEAT=1          times that the table is measured
#   SKYWORK_RT        the command (skywork-rt)
#   PYTHON            the Python that has the package (the one beside the command)
#
# Ends with 0 when every step passed, 1 when one failed (the report has its last words), 2 for wrong arguments, 130
# when it was interrupted.
set -euo pipefail

refuse() {
  echo "error: $1" >&2
  exit 2
}

usage() {
  awk 'NR > 1 && !/^#/ { exit } NR > 1 { sub(/^# ?/, ""); print }' "$0"
}

case ${1:-} in -h | --help) usage && exit 0 ;; esac
if [ $# -ne 2 ]; then
  usage >&2
  exit 2
fi
checkpoint=$1 out=$2
on=${ON:-ascend} batch=${BATCH:-2} length=${LENGTH:-4096} form=${FORM:-assign} weights=${WEIGHTS:-bf16}
gears=${GEARS-1x256,1x1024,2x256,2x1024}
read -r -a command <<< "${SKYWORK_RT:-skywork-rt}"
read -r -a export_options <<< "${EXPORT_OPTIONS:-}"
read -r -a eval_options <<< "${EVAL_OPTIONS:-}"
here=$(cd "$(dirname "$0")" && pwd)
bundle=$out/bundle report=$out/report.md failed=()

# The Python in whose environment the command is: the command itself, or the one in its folder, links followed or not.
python_of() {
  local program
  program=$(command -v "${command[0]}")
  case ${program##*/} in python*) echo "$program" && return ;; esac
  for program in "$program" "$(readlink -f "$program")"; do
    [ ! -x "$(dirname "$program")/python" ] || { echo "$(dirname "$program")/python" && return; }
  done
  return 1
}

# What the steps depend on. DATA is not part of it: evaluations can be added to a report.
settings() {
  printf '%s\n' "checkpoint: $checkpoint" "backend: $on" "processor's weights: $weights"
  [ "$on" = native ] || printf '%s\n' "batch: $batch" "length: $length" "gears: $gears" "form: $form"
  printf '%s\n' "export options: ${export_options[*]}" "questions a subject: ${LIMIT:-all}" \
    "options of the evaluations: ${eval_options[*]}"
}

check_arguments() {
  command -v "${command[0]}" > /dev/null || refuse "there is no command ${command[0]}; say with SKYWORK_RT where it is"
  case $on in ascend | native) ;; *) refuse "ON is $on, but must be ascend or native" ;; esac
  [ -e "$checkpoint" ] || refuse "there is no checkpoint $checkpoint"
  python=${PYTHON:-$(python_of)} || refuse "no python beside ${command[0]}; say with PYTHON which one has skywork_rt"
  if [ -n "${DATA:-}" ] && [ -z "$(compgen -G "$DATA/ceval*" || compgen -G "$DATA/*mmlu*")" ]; then
    refuse "DATA is $DATA, where there is none of ceval, mmlu and cmmlu (folders or archives)"
  fi
  if [ -e "$out/settings.txt" ] && ! settings | cmp -s - "$out/settings.txt"; then
    settings | diff "$out/settings.txt" - >&2 || true
    refuse "$out was made with other settings (<); give another folder, or remove it"
  fi
}

# An export may take an hour: who has forgotten the card's machine shall know before.
warn_without_card() {
  if [ "$on" = ascend ] && grep -q 'ascend *no card' "$out/machine.txt"; then
    echo "warning: there is no Ascend card here; the export will be made, but what needs the card will fail" >&2
  fi
}

# Runs a step whose output is a file, unless the file is there. What it says goes to the terminal and into NAME.log; a
# step that fails is noted, and others go on.
step() {
  local name=$1 file=$out/$1.txt
  shift
  [ ! -s "$file" ] || return 0
  echo "== $name" >&2
  if { "$@" > "$file.partial"; } 2>&1 | tee "$out/$name.log" >&2; then
    mv "$file.partial" "$file"
    rm -f "$file.failed"
  else
    failed+=("$name")
    mv "$file.partial" "$file.failed"
  fi
}

export_bundle() {
  local options=(--for native --weights "$weights")
  if [ "$on" = ascend ]; then
    options=(--for ascend,native --weights "$weights" --batch "$batch" --seq-length "$length" --cache-form "$form")
    [ -z "$gears" ] || options+=(--gears "$gears")
  fi
  "${command[@]}" export "$checkpoint" "$bundle" "${options[@]}" ${export_options[@]+"${export_options[@]}"}
}

evaluate() {
  local task data
  for task in ceval mmlu cmmlu; do
    for data in "${DATA:-/nowhere}/$task" "${DATA:-/nowhere}/$task".*; do
      [ -e "$data" ] || continue
      step "$task" "${command[@]}" eval "$task" "$bundle" -d "$data" -o "$out/results-$task" --backend "$on" \
        ${LIMIT:+--limit "$LIMIT"} ${eval_options[@]+"${eval_options[@]}"}
      break
    done
  done
}

section() {
  local name=$1 file
  for file in "$out/$name.txt" "$out/$name.txt.failed"; do
    [ -f "$file" ] || continue
    printf '\n## %s%s\n\n' "$name" "$([ "$file" = "$out/$name.txt" ] || echo ' (failed)')"
    [ ! -s "$file" ] || case $name in
      parity | table | bound) cat "$file" ;;
      *) printf '```\n%s\n```\n' "$(cat "$file")" ;;
    esac
    if [ "$file" != "$out/$name.txt" ]; then printf '\n```\n%s\n```\n' "$(tail -n 20 "$out/$name.log")"; fi
    break
  done
}

write_report() {
  local part
  {
    printf '# Acceptance of the backend `%s`\n\n' "$on"
    if [ ${#failed[@]} -gt 0 ]; then echo "**Failed: ${failed[*]}.**"; else echo "Every step passed."; fi
    printf '\n```\n%s\n```\n' "$(cat "$out/settings.txt")"
    for part in machine export parity table bound ceval mmlu cmmlu; do section "$part"; done
  } > "$report.partial"
  mv "$report.partial" "$report"
  echo "$report"
}

# Steps end well when they are interrupted, and bash would go on with the next one.
trap 'echo "interrupted: the same command goes on where it was" >&2; exit 130' INT
trap 'exit 143' TERM
check_arguments
mkdir -p "$out"
settings > "$out/settings.txt"
exec 9> "$out/.lock"
flock -n 9 || refuse "another run is at work in $out"
step machine "${command[@]}" doctor
warn_without_card
if [ ! -f "$bundle/model.json" ]; then
  rm -f "$out/export.txt"
  step export export_bundle
fi
if [ -f "$bundle/model.json" ]; then
  step parity "$python" "$here/ascend_acceptance.py" "$bundle" --on "$on"
  step table "${command[@]}" bench "$bundle" --runtime "skywork_rt:$on*" --metric 'new_*' --metric load \
    --repeat "${REPEAT:-1}" --json "$out/table.json"
  step bound "${command[@]}" plan "$bundle" --device ascend-910b --batch "$batch"
  evaluate
fi
write_report
[ ${#failed[@]} -eq 0 ]
