from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch
from torch import nn

from flashu_core.model.embedding import Embedding

IMPORTED = """
import sys
import torch
from flashu_core.model.embedding import Embedding
with torch.device("meta"):
    made = Embedding(3, 4)
print(made.weight.is_meta, "torch._dynamo" in sys.modules)
"""


def test_in_memory_it_is_what_torch_makes() -> None:
    torch.manual_seed(0)
    expected = nn.Embedding(5, 3)
    torch.manual_seed(0)
    made = Embedding(5, 3)
    assert torch.equal(made.weight, expected.weight)
    numbers = torch.tensor([[4, 0], [2, 2]])
    assert torch.equal(made(numbers), expected(numbers))


def test_on_the_meta_device_no_compiler_is_imported() -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    found = subprocess.run(
        [sys.executable, "-c", IMPORTED], env=environment, capture_output=True, text=True, timeout=300, check=True
    )
    assert found.stdout == "True False\n"
