#!/usr/bin/env bash
# What decoding adds to one trained model: decoding.sh RUN OUTPUT (run by `make multi30k-ende-decoding`; needs NMT_DATA).
set -euo pipefail
run=$1 output=$2
test=${NMT_DATA:?is not set: the folder that holds multi30k_tok/}/multi30k_tok/test_2016_flickr
mkdir -p "$output"
translate() { # NAME MODEL OPTIONS: what is there already stays
  [ -f "$output/$1" ] || nmt translate "$2" "$test.en" -o "$output/$1" "${@:3}"
}
translate beam-5 "$run/model"
translate greedy "$run/model" --beam 1
translate beam-10 "$run/model" --beam 10
translate last-checkpoint "$run/checkpoints/step-00008000"
translate three-checkpoints "$run/checkpoints/step-00008000" \
  --ensemble "$run/checkpoints/step-00007750" --ensemble "$run/checkpoints/step-00007550"
translate mbr-chrf2 "$run/model" --mbr chrf2
translate sample "$run/model" --sample
cd "$output"
nmt compare beam-5 greedy beam-10 last-checkpoint three-checkpoints mbr-chrf2 sample \
  --testset "$test.en:$test.de" --tokenize none --test ar --save all.json
python - <<'EOF'  # the figures without the translations, which lie beside it
import json
figures = json.load(open("all.json"))
for system in figures.values():
    if isinstance(system, dict):
        system.pop("translations", None)
json.dump(figures, open("decoding.json", "w"), indent=1)
EOF
