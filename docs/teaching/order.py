"""Does a Transformer's encoder know the order of its words? `python docs/teaching/order.py` shuffles them and looks.

Without positions the states are the same vectors in another order. With positions they are other vectors.
"""

from typing import get_args

import torch

from nmt.config.model import PositionName, TransformerConfig
from nmt.models import build_model

WORDS, LENGTH = 50, 6
torch.manual_seed(1)
source = torch.randint(4, WORDS, (1, LENGTH))
order = torch.tensor([3, 0, 5, 1, 4, 2])
lengths = torch.tensor([LENGTH])

for positions in get_args(PositionName):
    config = TransformerConfig(
        width=32, feed_forward=64, heads=2, encoder_layers=2, decoder_layers=1, positions=positions
    )
    model = build_model(config, WORDS, WORDS).double().eval()
    states = model.encode(source, lengths).states[0]  # (S, D)
    of_shuffled = model.encode(source[:, order], lengths).states[0]
    print(f"{positions:12} largest difference {(of_shuffled - states[order]).abs().max().item():.1e}")
