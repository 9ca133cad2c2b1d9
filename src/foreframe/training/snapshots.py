"""Regular pictures of the network's forecast for the first clip of a batch."""

from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from tensorboard.compat.proto.summary_pb2 import Summary
from torch import Tensor

from foreframe.clips.frames import missing_where_unseen
from foreframe.models import parts_of
from foreframe.training.faults import Events
from foreframe.visuals import animation, gif_bytes, strip, write_png
from foreframe.visuals.display import png_bytes


class Pictures(L.Callback):
    """Every `every` steps a picture of the batch's first clip: a strip and a GIF in TensorBoard,
    the strip also in RUN/pictures.
    """

    def __init__(self, folder: Path, every: int) -> None:
        self.folder, self.every = folder, every

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: L.Trainer, module: Any, outputs: Any, clips: Tensor, batch_index: int
    ) -> None:
        step = trainer.global_step
        if not trainer.is_global_zero or (step % self.every and step != 1):
            return
        clip = clips[:1].float()
        parts = parts_of(clip, module.window, module.network.inputs)
        past = module.window.split(clip)[0][:, :, : parts.last.shape[1]]
        forecast = missing_where_unseen(outputs["forecast"][:1].float(), parts.last)
        frames = [of_clip[0].cpu().numpy() for of_clip in (past, forecast, parts.truth)]
        picture = strip(*frames)
        write_png(self.folder / f"step-{step:07d}.png", picture)
        if not isinstance(trainer.logger, Events):  # fast_dev_run takes it away
            return
        images = {"strip": (picture, png_bytes(picture))}
        film = animation(*frames)
        images["gif"] = film[0], gif_bytes(film)
        values = []
        for name, (pixels, content) in images.items():
            h, w = pixels.shape[:2]
            image = Summary.Image(height=h, width=w, encoded_image_string=content)
            values.append(Summary.Value(tag=f"forecast/{name}", image=image))
        trainer.logger.write(Summary(value=values), step)
