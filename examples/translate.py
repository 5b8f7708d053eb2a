"""Translates from Python: `python examples/translate.py MODEL "a sentence"`."""

import sys

import nmt

model, sentence = sys.argv[1:]
translator = nmt.load(model, device="cpu", beam=5)

print(translator.translate(sentence))

# Several sentences at once are faster than one after another; each has its best translations with their scores.
for best in translator.translate_n_best([sentence, sentence.lower()], 2):
    for item in best:
        print(f"{item.score:8.3f}  {item.text}")
