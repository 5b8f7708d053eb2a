#!/usr/bin/env bash
# Multi30k train once more, by models that were trained on it: teachers.sh RUNS (run by `make multi30k-ende-distilled`; needs
# NMT_DATA). Into RUNS/multi30k-ende-distilled go two corpora: the English side with two German translations of it, and the
# German side with one English translation. What is there already stays; interrupted, the same command goes on.
set -euo pipefail
runs=$1 output=$1/multi30k-ende-distilled
train=${NMT_DATA:?is not set: the folder that holds multi30k_tok/}/multi30k_tok/train
mkdir -p "$output"
nmt train recipes/multi30k-ende-transformer-r-drop --run "$runs/multi30k-ende-transformer-r-drop"
nmt train recipes/ingredients --run "$output/forward"
nmt train recipes/ingredients --set data.source=de --set data.target=en --run "$output/backward"
translate() { # NAME MODEL LANGUAGE
  [ -f "$output/$1" ] || nmt translate "$2" "$train.$3" -o "$output/$1"
}
translate r-drop.de "$runs/multi30k-ende-transformer-r-drop/model" en
translate forward.de "$output/forward/model" en
translate backward.en "$output/backward/model" de
cat "$train.en" "$train.en" > "$output/train.en"
cat "$output/r-drop.de" "$output/forward.de" > "$output/train.de"
cp "$train.de" "$output/backward.de"
card() { # FILE NAME TITLE SPLIT
  printf '%s\n' "name = \"$2\"" "title = \"$3\"" 'licence = "research use"' 'languages = ["de", "en"]' 'tokenize = "none"' \
    '' '[splits]' "train = \"$4.{language}\"" > "$output/$1"
}
card corpus.toml multi30k-distilled "Multi30k train, translated by models that were trained on it" train
card backward.toml multi30k-backward "Multi30k train, its German translated back" backward
