"""What one engine works with, as the stages of both tasks see it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from flashu_core.acceleration.neurons import FULL, NeuronPath, NeuronPaths
from flashu_core.acceleration.policies import POLICIES, TaskPolicies
from flashu_core.checkpoint.load import Checkpoint
from flashu_core.config import EngineConfig
from flashu_core.errors import ConfigurationError
from flashu_core.model.showo2 import Showo2
from flashu_core.model.vae import Vae
from flashu_core.text.tokenizer import Tokenizer
from flashu_core.types import ModelInfo, Task


@dataclass(slots=True, eq=False)
class Parts:
    """A loaded model and what is known of it.

    Attributes:
        model, vae, tokenizer: what was loaded.
        info: its sizes, defaults and limits.
        policies: by name, with this checkpoint's own defaults.
        clock: seconds, for the whole of a request.
        paths: the ways through its FFNs, once it is calibrated.
    """

    model: Showo2
    vae: Vae
    tokenizer: Tokenizer
    info: ModelInfo
    policies: Mapping[str, TaskPolicies]
    clock: Callable[[], float]
    paths: NeuronPaths | None = None

    def check_path(self, ratio: float) -> None:
        """Whether there is a path that prunes the share `ratio`, without making it.

        Raises:
            ConfigurationError: some neurons are to be pruned and nobody knows which.
        """
        if ratio and self.paths is None:
            raise ConfigurationError(
                f"ffn_ratio is {ratio:g}, and this model is not calibrated: run 'flashu calibrate'"
            )

    def path(self, task: Task, ratio: float) -> NeuronPath:
        """The neurons of a task that prunes the share `ratio`.

        Raises:
            ConfigurationError: as `check_path`.
        """
        self.check_path(ratio)
        return FULL if self.paths is None else self.paths.path(task, ratio, self.model.device)


def model_info(checkpoint: Checkpoint, config: EngineConfig) -> ModelInfo:
    """What a checkpoint, run like that, can do."""
    model = checkpoint.model
    pixels = model.config.patch_size * checkpoint.vae.config.compression
    return ModelInfo(
        name=checkpoint.name,
        parameters=sum(parameter.numel() for part in (model, checkpoint.vae) for parameter in part.parameters()),
        dtype=str(model.dtype).removeprefix("torch."),
        device=str(model.device),
        sizes=tuple((columns * pixels, rows * pixels) for rows, columns in model.config.grids),
        num_inference_steps=model.config.num_inference_steps,
        guidance_scale=model.config.guidance_scale,
        policies=tuple(POLICIES),
        max_prompt_tokens=config.max_prompt_tokens,
        known_words=checkpoint.known_words,
        details={"attention": config.attention, "digest": checkpoint.digest},
    )
