"""Models that read pictures: each part is its paper's, and no picture depends on its neighbours in a batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from nmt.config.data import TokenizerConfig
from nmt.config.model import RnnConfig, TransformerConfig, VisualConfig
from nmt.corpus.tokenizer import BOS, EOS, PAD, Tokenizer, spelled_text
from nmt.errors import ConfigError
from nmt.fast.cpu.rnn_training import scanned
from nmt.fast.cpu.transformer_training import packed_transformer
from nmt.fast.cpu.visual_search import VisualByKernels
from nmt.fast.inference import fastest_decoder, for_inference
from nmt.fast.kernels import kernels
from nmt.models import Visual, build_model
from nmt.models.size import parameter_count
from nmt.models.visual.gates import CbamChannels, CbamPlaces, SqueezeExcitation, convolved
from nmt.models.visual.image import BatchNorm, Block, RunningStatistics, convolved_pixels
from tiny import make_recipe

Array = npt.NDArray[np.float64]
LINES = ["Ein Mann läuft über die große Straße.", "Hunde", "Zwei Kinder spielen"]
BASES = {
    "transformer": TransformerConfig(
        width=32, feed_forward=48, heads=2, encoder_layers=2, decoder_layers=2, tie="output", dropout=0.0
    ),
    "rnn": RnnConfig(embedding=32, hidden=32, dropout=0.0),
}
GATES = [("none", "none"), ("se", "none"), ("cbam", "cbam")]


def _model(
    image: str = "visrep", gates: tuple[str, str] = ("none", "none"), base: str = "transformer", **more: Any
) -> Visual:
    torch.manual_seed(3)
    config = VisualConfig.model_validate(
        {
            "image_encoder": image,
            "channel_attention": gates[0],
            "spatial_attention": gates[1],
            "base": BASES[base],
            **more,
        }
    )
    model = build_model(config, 261, 40)
    assert isinstance(model, Visual)
    return model


def _batch(lines: list[str] = LINES) -> tuple[Tensor, Tensor, Tensor]:
    """Sources, their lengths, and targets with BOS."""
    ids = [[*tokens, EOS] for tokens in Tokenizer.train([], TokenizerConfig(kind="byte")).encode(lines)]
    lengths = torch.tensor([len(tokens) for tokens in ids])
    source = torch.full((len(ids), int(lengths.max())), PAD)
    for row, tokens in enumerate(ids):
        source[row, : len(tokens)] = torch.tensor(tokens)
    target = torch.randint(4, 40, (len(ids), 7), generator=torch.Generator().manual_seed(1))
    target[:, 0] = BOS
    return source, lengths, target


def _sigmoid(values: Array) -> Array:
    return 1 / (1 + np.exp(-values))


def _features(channels: int = 6) -> tuple[Tensor, Tensor, list[Array]]:
    """Features of two pictures, the second with padding, their real columns, and each picture without padding."""
    generator = torch.Generator().manual_seed(2)
    features = torch.rand((2, channels, 4, 9), generator=generator, dtype=torch.float64).sub_(0.3).relu_()
    real = torch.ones((2, 1, 1, 9), dtype=torch.float64)
    real[1, :, :, 5:] = 0
    features *= real
    return features, real, [features[0].numpy(), features[1, :, :, :5].numpy()]


def test_squeeze_and_excitation_is_its_equations() -> None:
    """Hu et al. 2018, equations 2 to 4, computed by NumPy in float64; padding does not count."""
    features, real, pictures = _features()
    gate = SqueezeExcitation(6).double()
    found = gate(features, real).detach()
    first, second = (part.weight.detach().numpy() for part in (gate.squeeze, gate.excite))
    before, after = (part.bias.detach().numpy() for part in (gate.squeeze, gate.excite))
    for picture, seen in zip(pictures, found.numpy(), strict=True):
        z = picture.mean((1, 2))
        s = _sigmoid(second @ np.maximum(first @ z + before, 0) + after)
        assert np.allclose(seen[:, :, : picture.shape[2]], picture * s[:, None, None], atol=1e-12)
        assert not seen[:, :, picture.shape[2] :].any()


def test_cbam_is_its_equations() -> None:
    """Woo et al. 2018, equations 2 and 3, computed by NumPy in float64; padding does not count."""
    features, real, pictures = _features()
    channels, places = CbamChannels(6).double(), CbamPlaces().double()
    found = places(channels(features, real), real).detach().numpy()
    first, second = (part.weight.detach().numpy() for part in (channels.squeeze, channels.excite))
    before, after = (part.bias.detach().numpy() for part in (channels.squeeze, channels.excite))
    kernel, bias = (part.detach().numpy()[0] for part in places.convolution.parameters())
    for picture, seen in zip(pictures, found, strict=True):
        scores = [
            second @ np.maximum(first @ part + before, 0) + after
            for part in (picture.mean((1, 2)), picture.max((1, 2)))
        ]
        weighed = picture * _sigmoid(scores[0] + scores[1])[:, None, None]
        summary = np.pad(np.stack([weighed.mean(0), weighed.max(0)]), ((0, 0), (3, 3), (3, 3)))
        height, width = picture.shape[1:]
        gate = np.array(
            [[(summary[:, y : y + 7, x : x + 7] * kernel).sum() + bias for x in range(width)] for y in range(height)]
        )
        assert np.allclose(seen[:, :, :width], weighed * _sigmoid(gate), atol=1e-12)


@pytest.mark.parametrize("stride", [1, 2])
def test_the_product_of_neighbours_is_a_convolution(stride: int) -> None:
    """Values and gradients equal those of torch's convolution."""
    convolution = nn.Conv2d(1, 3, 3, stride, padding=1).double()
    pixels = torch.rand(5, 8, 12, dtype=torch.float64)
    found, expected = convolved_pixels(convolution, pixels), convolution(pixels[:, None]).transpose(0, 1)
    assert torch.allclose(found, expected, atol=1e-12)
    mix = torch.rand_like(found)
    own = torch.autograd.grad((found * mix).sum(), [*convolution.parameters()])
    theirs = torch.autograd.grad((expected * mix).sum(), [*convolution.parameters()])
    assert all(torch.allclose(one, other, atol=1e-12) for one, other in zip(own, theirs, strict=True))


@pytest.mark.parametrize(("stride", "kernel"), [(1, 3), (2, 3), (1, 7)])
def test_pictures_side_by_side_are_convolved_as_each_alone(stride: int, kernel: int) -> None:
    """Values and gradients equal those of torch's convolution of a batch."""
    convolution = nn.Conv2d(2, 3, kernel, stride, padding=kernel // 2).double()
    for shape in ((1, 2, 4, 4), (5, 2, 6, 12), (40, 2, 2, 36)):
        pictures = torch.rand(shape, dtype=torch.float64, requires_grad=True)
        found, expected = convolved(convolution, pictures), convolution(pictures)
        assert torch.allclose(found, expected, atol=1e-12)
        mix, inputs = torch.rand_like(found), [pictures, *convolution.parameters()]
        both = [torch.autograd.grad((states * mix).sum(), inputs) for states in (found, expected)]
        assert all(torch.allclose(one, other, atol=1e-12) for one, other in zip(*both, strict=True))


def test_batches_have_few_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    """200 batches of about as many pixels give the convolution a dozen shapes, each little wider than it must be."""
    convolution, seen = nn.Conv2d(1, 1, 3, padding=1), set[int]()
    monkeypatch.setattr(convolution, "forward", lambda strip: seen.add(strip.shape[3]) or strip)
    draw = torch.Generator().manual_seed(1)
    for _ in range(200):
        width = int(torch.randint(40, 200, (1,), generator=draw))
        count = int(torch.randint(6000, 10000, (1,), generator=draw)) // width
        assert convolved(convolution, torch.zeros(count, 1, 1, width)).shape == (count, 1, 1, width)
        assert max(seen) <= 1.2 * 10000 * 41 / 40
    assert len(seen) <= 12


def test_batch_norm_is_torchs_and_its_statistics_are_saved() -> None:
    """Equal in training and after it, by parameters that no optimiser trains."""
    ours, theirs = BatchNorm(3), nn.BatchNorm2d(3)
    features = torch.randn(3, 8, 4, 6)
    for number in range(3):
        features = features * 2 + number
        assert torch.allclose(ours(features), theirs(features.transpose(0, 1)).transpose(0, 1), atol=1e-6)
    for norm in (ours, theirs):
        norm.eval()
    assert torch.allclose(ours(features), theirs(features.transpose(0, 1)).transpose(0, 1), atol=1e-6)
    named = dict(ours.named_parameters())
    assert torch.allclose(torch.cat([named["mean"], named["variance"]]), torch.cat([*theirs.buffers()][:2]), atol=1e-6)
    assert [name for name, parameter in named.items() if not parameter.requires_grad] == ["mean", "variance"]


def test_a_trial_leaves_no_trace() -> None:
    """Running statistics are as before a pass for trial, and move in one that counts."""
    model, batch = _model().train(), _batch()
    before = [parameter.clone() for parameter in model.parameters()]
    statistics = RunningStatistics(model)
    model(*batch)
    statistics.put_back()
    assert all(torch.equal(one, other) for one, other in zip(before, model.parameters(), strict=True))
    model(*batch)
    assert not all(torch.equal(one, other) for one, other in zip(before, model.parameters(), strict=True))


def test_a_frozen_norm_keeps_its_statistics() -> None:
    """It normalises by them, as after training."""
    norm, features = BatchNorm(3), torch.randn(3, 8, 4, 6)
    norm(features)
    norm.weight.requires_grad_(False)
    before = [parameter.clone() for parameter in norm.parameters()]
    frozen = norm(features)
    assert all(torch.equal(one, other) for one, other in zip(before, norm.parameters(), strict=True))
    assert torch.equal(frozen, norm.eval()(features))
    assert not RunningStatistics(norm).moving


def test_gates_follow_each_convolution() -> None:
    """A block is ReLU of the convolution, then channels, then places, and zero beyond the line."""
    config = VisualConfig(image_encoder="cnn", channel_attention="se", spatial_attention="cbam")
    block = Block(config, 2, 8, stride=2).double()
    states = torch.rand(3, 2, 8, 12, dtype=torch.float64)
    ends = torch.tensor([6, 3, 5])
    real = (torch.arange(6) < ends[:, None]).double()[:, None, None]
    features = torch.relu(block.convolution(states)) * real
    assert torch.allclose(block(states, ends), block.places(block.channels(features, real), real))
    assert not block(states, ends)[1, :, :, 3:].any()


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize(
    ("image", "gates"), [("slices", GATES[0]), *((name, gate) for name in ("visrep", "cnn") for gate in GATES)]
)
def test_what_replaces_a_visual_model_is_equal(image: str, gates: tuple[str, str], base: str) -> None:
    """A line alone, in a batch, by the training kernels and by the search kernels gives the same states."""
    exact, (source, lengths, target) = _model(image, gates, base).double().eval(), _batch()
    states = exact(source, lengths, target)
    alone = exact(source[1:2, : lengths[1]], lengths[1:2], target[1:2])
    assert torch.allclose(states[1:2], alone, atol=1e-12)
    model = _model(image, gates, base).train()
    model.image.eval()  # batch norm by its running statistics
    assert model.parameter_count == parameter_count(model.config, 261, 40)
    fast = packed_transformer(model) or scanned(model)
    assert (fast is None) == (kernels() is None)
    if fast is not None:
        assert torch.allclose(fast(source, lengths, target).double(), states, atol=1e-5)
    decoder = fastest_decoder(for_inference(model, torch.device("cpu"), "fp32"))
    assert isinstance(decoder, VisualByKernels) == (kernels() is not None and base == "transformer")
    logits, _ = decoder.step(decoder.start(decoder.encode(source, lengths), 1), target[:, 0].contiguous())
    expected, _ = exact.step(exact.start(exact.encode(source, lengths), 1), target[:, 0])
    assert torch.allclose(logits.double(), expected, atol=1e-4)


@pytest.mark.skipif(kernels() is None, reason="no C compiler")
def test_training_kernels_learn_the_image_encoder_too() -> None:
    """Gradients of every parameter equal those of the plain forward pass."""
    model, (source, lengths, target) = _model("cnn", GATES[2]).train(), _batch()
    fast = packed_transformer(model)
    assert fast is not None
    mix = torch.rand(3, 7, 32)
    found: list[list[Tensor]] = []
    for forward in (fast, model):
        model.zero_grad()
        (forward(source, lengths, target) * mix).sum().backward()
        found.append([parameter.grad for parameter in model.parameters() if parameter.grad is not None])
    assert len(found[0]) == len(found[1])
    assert all(torch.allclose(one, other, rtol=1e-3, atol=1e-4) for one, other in zip(*found, strict=True))


def test_attention_to_slices_becomes_attention_to_letters() -> None:
    """Each target word's attention still sums to one, the bytes of one letter share its column, and paper is the end."""
    model, (source, lengths, target) = _model(window=8, stride=8).eval(), _batch()
    maps = model.attention_maps(source, lengths, target)
    assert maps.shape == (3, 2, 2, 7, source.shape[1])
    assert torch.allclose(maps.sum(-1), torch.ones(3, 2, 2, 7), atol=1e-5)
    shares = model.shares(source, lengths)  # (B, S, N)
    text = spelled_text(source[1, : lengths[1]].tolist())
    edges = model.renderer.edges(text)
    for number, row in enumerate(shares[1]):
        first, last = number * 8, number * 8 + 8
        for place in range(len(text)):
            seen = max(0, min(last, edges[place + 1]) - max(first, edges[place]))
            assert row[1 + place].item() == pytest.approx(seen / 8 if row.any() else 0, abs=1e-6)
    assert shares[0, :, source[0].tolist().index(5 + 0xA4)].sum() == 0  # the second byte of ä shows nothing more


def test_what_is_seen_is_the_line() -> None:
    """Pixels up to the end of the last slice, attention per slice, and weights of places between 0 and 1."""
    model, (source, lengths, target) = _model("cnn", GATES[2]).eval(), _batch()
    with torch.inference_mode():
        seen = model.seen(source[:1], lengths[:1], target[:1])
    line = model.renderer.line(LINES[0])
    assert torch.equal((seen.pixels * 255).round().byte()[:, : len(line)], torch.from_numpy(line.T.copy()))
    assert seen.pixels.shape == (12, seen.maps.shape[-1] * 16)
    assert seen.places is not None
    assert seen.places.shape == seen.pixels.shape
    assert ((seen.places > 0) & (seen.places < 1)).all()
    plain = _model("visrep").eval()
    with torch.inference_mode():
        assert plain.seen(source[:1], lengths[:1], target[:1]).places is None


def test_bytes_spell_any_text() -> None:
    """A vocabulary of bytes has 261 tokens, and gives back what it was given; half a letter is replaced."""
    tokenizer = Tokenizer.train([], TokenizerConfig(kind="byte"))
    assert tokenizer.vocabulary_size == 261
    texts = ["Straße", "日本 語", "a\u0301 🙂", " zwei  Wörter "]
    for text, ids in zip(texts, tokenizer.encode(texts), strict=True):
        assert spelled_text([*ids, EOS, PAD]) == tokenizer.normalized(text) == tokenizer.decode([ids])[0]
    assert spelled_text(tokenizer.encode(["ü"])[0][:2]) == "\ufffd"


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"stride": 30}, r"stride must be at most window = 16"),
        ({"image_encoder": "cnn", "height": 10}, r"must be multiples of 4"),
        ({"image_encoder": "slices", "channel_attention": "se"}, r"weigh what a convolution finds"),
        ({"base": {"kind": "transformer", "tie": "all"}}, r"base.tie = 'all' shares source embeddings"),
        ({"base": {"kind": "rmn"}}, r"model.base.kind must be one of rnn, transformer \(did you mean rnn\?\)"),
        ({"base": {"kind": "rnn", "hiden": 3}}, r"unknown key model.base.hiden \(did you mean hidden\?\)"),
    ],
)
def test_wrong_settings_have_one_line(settings: dict[str, Any], error: str) -> None:
    """Each names the key and what to do."""
    with pytest.raises(ConfigError, match=error):
        make_recipe({"kind": "visual", **settings})
    with pytest.raises(ConfigError, match=r"needs tokenizer.joint = false and tokenizer.source_kind = 'byte'"):
        make_recipe({"kind": "visual"}, tokenizer={"kind": "word", "source_kind": "word"})
