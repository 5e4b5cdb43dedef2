"""The recipe of the embedded checkpoint, from nothing to a graded folder: autoencoder, latents, unified model, export.
Each part resumes where it stopped."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import torch

from flashu_core import Engine, EngineConfig
from flashu_core.acceleration.calibration import FILE
from flashu_core.checkpoint.config_json import model_config_from_json, vae_config_from_json, vae_config_to_json
from flashu_core.checkpoint.convert import save_checkpoint
from flashu_core.checkpoint.layouts import list_calibration
from flashu_core.checkpoint.load import load_checkpoint
from flashu_core.model.vae import Vae
from flashu_core.text.tokenizer import Tokenizer
from shapes.land.vocabulary import words
from shapes.tokenizer import build_tokenizer
from shapes.training.calibration import calibration_data
from shapes.training.data import encoded_scenes
from shapes.training.files import read_json
from shapes.training.train_model import GUIDANCE, START, Trainer
from shapes.training.train_vae import VaeTrainer


def load_vae(folder: Path) -> Vae:
    """The autoencoder that `train_vae` left in a folder, in float32."""
    vae = Vae(vae_config_from_json(read_json(folder / "vae.json")))
    weights = torch.load(folder / "vae.pt", weights_only=True)
    vae.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
    return vae.eval().requires_grad_(False)


def load_tokenizer(folder: Path) -> Tokenizer:
    """The run's tokenizer, made at its first start and kept: its ids must not change while it goes on."""
    if not (folder / "tokenizer.json").exists():
        build_tokenizer().save(folder)
    return Tokenizer.from_folder(folder)


def export(folder: Path, destination: Path, *, name: str) -> None:
    """Writes the averaged weights as a checkpoint in this project's layout, in bfloat16, and its calibration."""
    vae_folder = folder / "vae"
    save_checkpoint(
        destination,
        name=name,
        model_config=replace(model_config_from_json(read_json(folder / "config.json")), guidance_scale=GUIDANCE),
        model_weights=torch.load(folder / "average.pt", weights_only=True, map_location="cpu"),
        vae_config=vae_config_from_json(read_json(vae_folder / "vae.json")),
        vae_weights=torch.load(vae_folder / "vae.pt", weights_only=True),
        tokenizer=load_tokenizer(folder),
        dtype=torch.bfloat16,
        known_words=words(),
    )
    engine = Engine.load(destination, EngineConfig(device="cpu", dtype="float32", calibrated=False))
    prompts, samples = calibration_data(pixels=engine.info.sizes[0][0])
    engine.calibrate(prompts, samples).save(destination / FILE)
    list_calibration(destination / FILE)


def start_from(folder: Path, source: Path) -> None:
    """Gives a new run the weights, the autoencoder and the tokenizer of a checkpoint, to go on from there."""
    checkpoint = load_checkpoint(source)
    (folder / "vae").mkdir(parents=True, exist_ok=True)
    (folder / "vae" / "vae.json").write_text(json.dumps(vae_config_to_json(checkpoint.vae.config), indent=1))
    torch.save(checkpoint.vae.state_dict(), folder / "vae" / "vae.pt")
    torch.save(checkpoint.model.state_dict(), folder / START)
    checkpoint.tokenizer.save(folder)


def train(
    folder: Path,
    *,
    size: int,
    vae_minutes: float,
    minutes: float,
    scenes: int,
    pictures: int,
    draws: int,
    asked: int,
    rate: float,
    device: str,
    start: Path | None,
    destination: Path | None,
) -> None:
    """Trains from where the folder's run stopped; the arguments are the options of `shapes.train`."""
    torch.set_flush_denormal(True)
    folder.mkdir(parents=True, exist_ok=True)
    if start is not None and not (folder / START).exists():
        start_from(folder, start)
    if not (folder / "vae" / "vae.pt").exists():
        VaeTrainer(folder / "vae", width=16, pixels=size, device=device).run(vae_minutes)
    vae = load_vae(folder / "vae").to(device)
    trainer = Trainer(
        folder,
        load_tokenizer(folder),
        vae,
        encoded_scenes(vae, folder / "latents.pt", count=scenes, pixels=size),
        pixels=size,
        pictures=pictures,
        draws=draws,
        asked=asked,
        rate=rate,
        device=device,
    )
    trainer.run(minutes)
    if destination is not None:
        export(folder, destination, name=f"land-{size}")
