#!/usr/bin/env bash
# Accepts an Ascend card: exports a checkpoint for it, compares its answers with the processor's, measures the published
# table, runs the evaluations, and writes all of it into one report.
#
#   examples/ascend_acceptance.sh CHECKPOINT OUT
#
# CHECKPOINT: as `skywork-rt export` takes it, Skywork-13B for the published figures. OUT: a folder, made here; report.md
# is in it. What is there already is not made again, so a run that stopped goes on.
#
#   DATA=DIR          with ceval, mmlu and cmmlu in it (folders or archives as downloaded): the evaluations; unset: none
#   BATCH=2 LENGTH=4096 GEARS=1x256,1x1024,2x256,2x1024   shapes of the graphs
#   FORM=assign       form of the cache: assign, indexed or paged
#   EXPORT_OPTIONS    further options of the export, such as --tokenizer tokenizer.model --config run_skywork_13b.yaml
#   ON=ascend         the backend that is accepted; `native` tries this script without a card
#   LIMIT             questions a subject (all)
#   SKYWORK_RT        the command (skywork-rt)
set -euo pipefail

if [ $# -ne 2 ]; then
  sed -n '2,18s/^# \{0,1\}//p' "$0"
  exit 2
fi
checkpoint=$1 out=$2
on=${ON:-ascend} batch=${BATCH:-2} length=${LENGTH:-4096} form=${FORM:-assign}
gears=${GEARS-1x256,1x1024,2x256,2x1024}
read -r -a command <<< "${SKYWORK_RT:-skywork-rt}"
read -r -a export_options <<< "${EXPORT_OPTIONS:-}"
here=$(cd "$(dirname "$0")" && pwd)
bundle=$out/bundle report=$out/report.md failed=()
mkdir -p "$out"

# Runs a step whose output is a file, unless the file is there; a step that fails is noted, and others go on.
step() {
  local name=$1 file=$out/$2
  shift 2
  [ -s "$file" ] && return
  echo "== $name" >&2
  if "$@" > "$file.partial"; then
    mv "$file.partial" "$file"
  else
    failed+=("$name")
    mv "$file.partial" "$file.failed"
  fi
}

python_of() {
  local program
  program=$(command -v "${command[0]}")
  echo "$(dirname "$(readlink -f "$program")")/python"
}

step "the machine" machine.txt "${command[@]}" doctor
if [ ! -f "$bundle/model.json" ]; then
  echo "== export" >&2
  options=(--for native)
  if [ "$on" = ascend ]; then
    options=(--for ascend,native --batch "$batch" --seq-length "$length" --cache-form "$form")
    [ -n "$gears" ] && options+=(--gears "$gears")
  fi
  "${command[@]}" export "$checkpoint" "$bundle" "${options[@]}" "${export_options[@]}"
fi
step "parity" parity.txt "$(python_of)" "$here/ascend_acceptance.py" "$bundle" --on "$on" --report "$out/parity.md"
step "the published table" table.txt "${command[@]}" bench "$bundle" --runtime "skywork_rt:$on*" --metric 'new_*' \
  --metric load --repeat "${REPEAT:-1}" --json "$out/table.json"
step "the bound" plan.txt "${command[@]}" plan "$bundle" --device ascend-910b --batch "$batch"
for task in ceval mmlu cmmlu; do
  for data in "${DATA:-/nowhere}/$task" "${DATA:-/nowhere}/$task".*; do
    [ -e "$data" ] || continue
    step "$task" "$task.txt" "${command[@]}" eval "$task" "$bundle" -d "$data" -o "$out/$task" --backend "$on" \
      ${LIMIT:+--limit "$LIMIT"}
  done
done

{
  echo "# Acceptance of the backend \`$on\`"
  echo
  if [ ${#failed[@]} -gt 0 ]; then echo "**Failed: ${failed[*]}.** Their output is in the files *.failed."; else echo "Every step ran."; fi
  for part in machine parity table plan ceval mmlu cmmlu; do
    [ -s "$out/$part.txt" ] || continue
    printf '\n## %s\n\n' "$part"
    case $part in
      machine | ceval | mmlu | cmmlu) printf '```\n'; cat "$out/$part.txt"; printf '```\n' ;;
      *) cat "$out/$part.txt" ;;
    esac
  done
} > "$report.partial"
mv "$report.partial" "$report"
echo "$report"
[ ${#failed[@]} -eq 0 ]
