#!/usr/bin/env bash
# What a CUDA machine makes of this: gpu.sh OUTPUT (needs NMT_DATA and the environment of `make setup`). The tests of the GPU, then
# the speed of training (small and base Transformer, attention RNN; plain and with compiled steps) and of search, each in a
# file of its own under OUTPUT. What is there already stays.
set -euo pipefail
output=$(realpath -m "$1")
: "${NMT_DATA:?is not set: the folder that holds multi30k/}"
cd "$(dirname "$0")/../.."
mkdir -p "$output"

step() { # FILE COMMAND...: its output appears whole, or what went wrong is said and the next one begins
  local file=$output/$1
  shift
  [ -s "$file" ] || { echo "$file" >&2; "$@" > "$file.part" && mv "$file.part" "$file"; } || echo "failed: $*" >&2
}
train=(nmt bench train --device cuda --threads 1 --rounds 5 --json)
small=(recipes/multi30k-reference --set training.batch_tokens=4096 --updates 20)
base=(recipes/multi30k-reference --set training.batch_tokens=25000 --set model.width=512 --set model.feed_forward=2048
  --set model.heads=8 --set model.encoder_layers=6 --set model.decoder_layers=6 --updates 8)
attention=(recipes/multi30k-small-attention --set training.batch_tokens=4096 --set tokenizer.vocabulary=8000
  --set model.cell=lstm --set model.hidden=512 --set model.embedding=256 --updates 8)

step tests.txt python -m pytest -m gpu -n 4
step train.jsonl "${train[@]}" "${small[@]}" --profile "$output/profile.txt"
step train-base.jsonl "${train[@]}" "${base[@]}"
step train-attention.jsonl "${train[@]}" "${attention[@]}"
step train-compiled.jsonl "${train[@]}" "${small[@]}" --set training.compile=true
step train-base-compiled.jsonl "${train[@]}" "${base[@]}" --set training.compile=true
nmt train recipes/multi30k-reference --run "$output/model" --device cuda --set training.updates=1560 \
  --set training.batch_tokens=4096
text=$NMT_DATA/multi30k/test_2016_flickr.de
step decode.jsonl nmt bench decode "$output/model" --text "$text" --device cuda --batch 256 --json
step decode-greedy.jsonl nmt bench decode "$output/model" --text "$text" --device cuda --beam 1 --batch 512 --json
