from __future__ import annotations

import pytest
import torch

from flashu_core.model.sampler import noise
from flashu_core.model.showo2 import Showo2
from flashu_core.text.tokenizer import Tokenizer
from shapes.land.painting import BACKGROUNDS, COLOURS
from shapes.land.scenes import NAMES
from shapes.land.things import Scene, Thing
from shapes.training.labels import CONTENTS, TINTS, Probe, token_labels
from shapes.training.train_model import embedded_config, initialise


def test_the_label_of_a_token_has_the_largest_share_of_its_area() -> None:
    scene = Scene(
        things=(
            Thing(figure="square", colour="blue", x=0.25, y=0.25, size="large"),
            Thing(figure="ball", colour="pink", x=0.75, y=0.75, size="small"),
        ),
        background="night",
    )
    (labels,) = token_labels([scene], 6)
    contents, tints = labels[:, 0].view(6, 6), labels[:, 1].view(6, 6)
    assert contents[1, 1] == list(NAMES).index("square") and tints[1, 1] == 1 + list(COLOURS).index("blue")
    assert contents[4, 4] == list(NAMES).index("ball") and tints[4, 4] == 1 + list(COLOURS).index("pink")
    assert contents[5, 0] == len(NAMES) + list(BACKGROUNDS).index("night") and tints[5, 0] == 0
    # The square spans 0.04 to 0.46: three tokens a side, the last of them by less than nine tenths.
    assert (tints == 1 + list(COLOURS).index("blue")).sum() == 9


def test_the_probe_reads_what_enters_its_layer_and_keeps_it_once(tokenizer: Tokenizer) -> None:
    model = Showo2(embedded_config(len(tokenizer), 64))
    initialise(model)
    probe = Probe(model, 2)
    with pytest.raises(RuntimeError, match="has not run"):
        probe.stream()
    hidden = noise(0, (1, 3, 192))
    model.backbone.layers[2].get_submodule("input_layernorm")(hidden)
    assert probe.stream() is hidden
    labels = torch.tensor([[[0, 1], [CONTENTS - 1, TINTS - 1], [3, 0]]], dtype=torch.uint8)
    before = probe.loss(hidden, labels)
    with torch.no_grad():
        probe.read.weight.zero_()
        probe.read.bias.zero_()
    assert probe.loss(hidden, labels).item() == pytest.approx(
        torch.tensor([CONTENTS, TINTS]).float().log().sum().item(), rel=1e-5
    )
    assert before.isfinite()
