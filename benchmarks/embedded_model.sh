#!/bin/bash
# Trains fitbot-tiny, fits and measures it. On the GPU machine, in the repository's root:
#   bash bundle/embedded_model.sh start   unpacks, starts the pipeline in a session of its own
#   bash bundle/embedded_model.sh wait 560   waits, copies what there is to $OUT, prints the end of the log and the table
# Here: bash benchmarks/embedded_model.sh pack   puts everything into bundle (to be carried: bundle)
#       REHEARSE=1 bash benchmarks/embedded_model.sh start    the same on a CPU, minutes
T=/tmp/embedded_model; SECONDS_TRAIN=${SECONDS_TRAIN:-840}
here=$(cd "$(dirname "$0")" && pwd)

export HF_HUB_OFFLINE=1 WANDB_MODE=disabled PYTHONUNBUFFERED=1 TOKENIZERS_PARALLELISM=false OMP_WAIT_POLICY=PASSIVE
if [ -n "$REHEARSE" ]; then
  PY=${PY:-python3}; export PYTHONPATH=$T/tree
else
  PY=${PY:-python3}; export PYTHONPATH=$T/tree:$T/site
fi

pack() {
  to=${TO:-bundle}; mkdir -p $to
  tar -C "${TREE:-.}" --exclude=__pycache__ --exclude='checkpoints/r28*' -cJf $to/tree.tar.xz \
    fitbot configs data/build data/independent $(cd "${TREE:-.}" && ls data/*.json data/README.md) \
    benchmarks/first_messages.py benchmarks/first_messages.json checkpoints/fitbot-tiny checkpoints/README.md pyproject.toml README.md
  cp site.tar.xz $to/; cp "$0" $to/embedded_model.sh; du -sh $to/*
}

unpack() {
  mkdir -p $T/tree $T/site $T/out
  if [ -n "$REHEARSE" ]; then
    tar -C "${TREE:-.}" --exclude=__pycache__ -cf - fitbot configs data benchmarks/first_messages.py benchmarks/first_messages.json checkpoints/fitbot-tiny pyproject.toml | tar -C $T/tree -xf -
  else
    tar -C $T/tree -xJf $here/tree.tar.xz & tar -C $T/site -xJf $here/site.tar.xz & wait
  fi
}

train() {  # the options of tiny.py
  if [ -n "$REHEARSE" ]; then
    $PY -c "import sys; sys.path[:0]=['data/build']; sys.argv=['data/build/tiny.py','$T/model','--seconds','20','--workers','1','--parts','1','--trial','1','--sample','1500','--log_every','5']; import tiny; tiny.ROWS=1; tiny.DRAWN=64; tiny.main()"
  else
    $PY data/build/tiny.py $T/model --seconds $SECONDS_TRAIN "$@"
  fi
}

fit() {  # edition seed
  v=_v1; [ $1 = 2 ] && v=
  # Otherwise hidden: quickstart is for a CPU.
  limit="--data.train_limit 3200 --trainer.val_check_interval 1.0"; threads=2; [ -n "$REHEARSE" ] && threads=1 && limit="--data.train_limit 16 --data.val_limit 8"
  s=$(date +%s)
  CUDA_VISIBLE_DEVICES= OMP_NUM_THREADS=$threads timeout 480 $PY -m fitbot fit --config configs/quickstart.yaml --seed_everything $2 --run.name e$1s$2 \
    --data.train_path data/fitness_train$v.json --data.val_path data/fitness_val$v.json $limit > $T/out/fit_e$1s$2.log 2>&1
  echo "fit e$1s$2: rc $? $(( $(date +%s) - s )) s"
}

evaluate() {  # name edition adapter...
  n=$1; v=_v1; [ $2 = 2 ] && v=; shift 2
  few=; [ -n "$REHEARSE" ] && few="--limit 12 --questions 6"
  timeout 300 $PY -m fitbot evaluate "$@" --pairs data/fitness_$FILE$v.json --temperature 0.7 --max_new_tokens 96 $few --out $T/ev/$n > $T/out/ev_$n.log 2>&1 || { tail -3 $T/out/ev_$n.log; \
  echo "evaluate $n failed; again on the CPU"; CUDA_VISIBLE_DEVICES= OMP_NUM_THREADS=2 timeout 300 $PY -m fitbot evaluate "$@" --pairs data/fitness_$FILE$v.json --temperature 0.7 --max_new_tokens 96 $few --out $T/ev/$n > $T/out/ev_$n.log 2>&1; }
}

pipeline() {
  cd $T/tree; date
  train || { echo "fast form failed; plain form"; train --plain --parts 1; }
  [ -f $T/model/model.safetensors ] || { echo "NO MODEL"; touch $T/done; return; }
  rm -f checkpoints/fitbot-tiny/model.safetensors checkpoints/fitbot-tiny/tokenizer*; cp $T/model/*.json $T/model/model.safetensors checkpoints/fitbot-tiny/
  touch $T/trained; date
  # What the base prefers, while the fits run: a GPU is free then.
  seeds="42 1 2"; [ -n "$REHEARSE" ] && seeds="42"
  editions="1 2"; [ -n "$REHEARSE" ] && editions="2"
  for e in $editions; do for s in $seeds; do fit $e $s & [ -n "$REHEARSE" ] && wait; done; done
  for e in $editions; do FILE=val evaluate base_val_e$e $e --questions 0; done
  OMP_NUM_THREADS=2 $PY benchmarks/first_messages.py --out $T/out/messages_base.json ${REHEARSE:+--max_new_tokens 8} > $T/out/messages_base.md 2>&1
  wait; date; echo "fits done"
  # Each run's own edition first, then the other one's test pairs.
  for test in $editions; do
    for e in $editions; do for s in $seeds; do
      FILE=test evaluate e${e}s${s}_test$test $test checkpoints/e${e}s$s & [ -n "$REHEARSE" ] && wait
    done; done
    [ $test = 2 ] && for e in $editions; do OMP_NUM_THREADS=2 $PY benchmarks/first_messages.py --adapter checkpoints/e${e}s42/adapter ${REHEARSE:+--max_new_tokens 8} --out $T/out/messages_e$e.json > $T/out/messages_e$e.md 2>&1 & done
    wait
  done
  date; table > $T/out/table.txt 2>&1; touch $T/done
}

table() {
  $PY - <<'P'
import glob, json, os
T = "/tmp/embedded_model"; rows = {}
for path in sorted(glob.glob(f"{T}/ev/*/evaluation.json")):
    name = path.split("/")[-2]; d = json.load(open(path)); row = {}
    for g in d["groups"]:
        if g["label"] not in ("all", "split", "category"): continue
        key = "all" if g["label"] == "all" else g["value"]
        for model, f in g["figures"].items():
            for m in ("rewards/accuracies", "logps/accuracies"):
                if m in f: row[f"{'base' if model == 'base' else 'tuned'} {m} {key}"] = round(f[m]["value"], 3)
        if g["label"] == "all":
            row["rules that read the question"] = {r["rule"]: round(r["accuracy"], 3) for r in g["question_rules"]}
    for one in d["models"]:
        who = "base" if one["model"]["name"] == "base" else "tuned"
        for how in ("greedy", "sampled"):
            a = (one.get("answers") or {}).get(how)
            if not a: continue
            row[f"{who} {how} all"] = round(a["passes"]["value"], 3)
            for label in ("split", "category"):
                for k, v in a["passes_by"].get(label, {}).items(): row[f"{who} {how} {k}"] = round(v["value"], 3)
            row[f"{who} {how} faults"] = {k: round(v["value"], 3) for k, v in a["faults"].items()}
    rows[name] = row
json.dump(rows, open(f"{T}/out/results.json", "w"), indent=1)
for name, r in rows.items():
    if "val" in name:
        print(name, *(f"{k.split()[-2]} {k.split()[-1]} {v}" if 0 else f"{k[22:]}={v}" for k, v in r.items() if k.startswith("base logps/accuracies") and any(s in k for s in ("all", "seen"))))
print("run_test       reward acc: all seen forms facts | best rule | greedy: all seen forms facts | sampled: all seen forms facts | base greedy")
for name, r in rows.items():
    if "val" in name: continue
    S = ("all", "seen facts", "unseen forms", "unseen facts"); f = lambda p: " ".join(f"{r.get(f'{p} {s}', float('nan')):.3f}" for s in S)
    rule = max((r.get("rules that read the question") or {"": 0}).values())
    print(f"{name:14}", f("tuned rewards/accuracies"), "|", rule, "|", f("tuned greedy"), "|", f("tuned sampled"), "|", r.get("base greedy all"))
for path in sorted(glob.glob(f"{T}/out/messages_*.md")): print(os.path.basename(path), open(path).read().strip().splitlines()[-1][:150])
P
}

give() {
  [ -n "$OUT" ] || return
  mkdir -p $OUT; cp $T/log $OUT/log.txt
  [ -f $T/trained ] && split -b 15m $T/model/model.safetensors $OUT/model.part. && tar -C $T/model -cJf $OUT/model_small.tar.xz $(cd $T/model; ls *.json)
  [ -f $T/out/table.txt ] && cp $T/out/table.txt $T/out/results.json $OUT/
  tar -C $T -cJf $OUT/out.tar.xz out; ls -la $OUT
}

case $1 in
  pack) pack ;;
  start) rm -rf $T; mkdir -p $T; unpack; date
    export -f pipeline train fit evaluate table; export T SECONDS_TRAIN PY REHEARSE here
    setsid nohup bash -c pipeline > $T/log 2>&1 < /dev/null & ;;
  table) table ;;
  wait) end=$(( $(date +%s) + ${2:-560} ))
    while [ ! -f $T/done ] && [ $(date +%s) -lt $end ]; do sleep 2; done
    give; tail -n 40 $T/log | cut -c1-400; [ -f $T/done ] && cat $T/out/table.txt && echo DONE ;;
esac
