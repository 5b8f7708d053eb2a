"""What a leaking mask does to a training: `python docs/teaching/leak.py` trains two small Transformers to copy six letters.

One sees the next letter of the target while it trains. Its loss is the better one, and it cannot copy. One minute.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from nmt.config.model import TransformerConfig
from nmt.config.search import SearchConfig
from nmt.corpus.tokenizer import BOS, EOS
from nmt.decoding.beam_search import beam_search
from nmt.models.transformer.model import Transformer

FIRST, LETTERS, LENGTH, UPDATES = 4, 12, 6, 400
CONFIG = TransformerConfig(width=64, feed_forward=128, heads=2, encoder_layers=1, decoder_layers=1, dropout=0.0)


class Leaking(Transformer):
    """The mask hides the positions from t + 2 on. It should hide those from t + 1 on."""

    def _causal(self, states: Tensor) -> Tensor:
        count = states.shape[1]
        return states.new_full((count, count), -torch.inf).triu(2).expand(len(states) * CONFIG.heads, -1, -1)


def draw(sentences: int) -> Tensor:
    """Returns random sources (B, S), ended by EOS."""
    return F.pad(torch.randint(FIRST, FIRST + LETTERS, (sentences, LENGTH)), (0, 1), value=EOS)


def train(model: Transformer) -> float:
    """Returns the last loss, with the right words before each word (teacher forcing)."""
    optimizer, loss = torch.optim.Adam(model.parameters(), lr=2e-3), torch.tensor(0.0)
    for _ in range(UPDATES):
        source = draw(64)
        before = F.pad(source[:, :-1], (1, 0), value=BOS)  # the target is the source, and these are the words before
        logits = model.output(model(source, torch.full((64,), LENGTH + 1), before))
        loss = F.cross_entropy(logits.flatten(0, 1), source.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


def copied(model: Transformer) -> float:
    """Returns the share of sources that the model copies when it has to write for itself."""
    source = draw(100)
    with torch.inference_mode():
        written = beam_search(model, source, torch.full((100,), LENGTH + 1), SearchConfig(beam=1), 1)
    right = [list(best[0].tokens) == row[:-1].tolist() for best, row in zip(written, source, strict=True)]
    return sum(right) / len(right)


for name, kind in (("honest", Transformer), ("leaking", Leaking)):
    torch.manual_seed(1)
    model = kind(CONFIG, FIRST + LETTERS, FIRST + LETTERS)
    loss = train(model)
    print(f"{name:8} loss {loss:.4f}  copied {copied(model.eval()):.0%}")
