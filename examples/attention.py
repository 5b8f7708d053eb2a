"""The attention of a sentence as an array: `python examples/attention.py MODEL "a sentence"`."""

import sys

import nmt

model, sentence = sys.argv[1:]
attention = nmt.attend(nmt.load(model, device="cpu"), sentence)

layers, heads, target_words, source_words = attention.maps.shape  # the end of a sentence is the last word of each side
print(f"{layers} layers, {heads} heads, {target_words} target words, {source_words} source words")

# For each word of the translation the source word that gets most of its attention, in the layer that aligns best.
weights = attention.chosen().numpy()[:-1, :-1]  # (target words, source words), without the ends
for word, row in zip(attention.target, weights, strict=True):
    print(f"{word:15} {attention.source[row.argmax()]:15} {row.max():.2f}")
