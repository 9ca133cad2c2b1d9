"""Every so many steps, what the network makes of the first clip of its batch."""

from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from torch import Tensor

from foreframe.clips.frames import missing_where_unseen
from foreframe.models import parts_of
from foreframe.training.faults import Events
from foreframe.training.notices import say
from foreframe.visuals import animation, gif_bytes, strip, write_png


class Pictures(L.Callback):
    """Every `every` steps the batch's first clip: a strip and a GIF in TensorBoard, the strip in
    RUN/pictures too.
    """

    def __init__(self, folder: Path, every: int) -> None:
        self.folder, self.every = folder, every
        self._told = False

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
        try:
            write_png(self.folder / f"step-{step:07d}.png", picture)
        except ValueError as error:
            if not self._told:
                say(f"{error}: pictures are left out as long as that is so; the training goes on")
            self._told = True
        if not isinstance(trainer.logger, Events):  # fast_dev_run takes it away
            return
        trainer.logger.write(
            lambda board: board.add_image("forecast/strip", picture, step, dataformats="HWC")
        )
        # add_video without moviepy logs nothing and says nothing; an image summary may hold any
        # picture that browsers show.
        from tensorboard.compat.proto.summary_pb2 import Summary

        film = animation(*frames)
        image = Summary.Image(
            height=film.shape[1],
            width=film.shape[2],
            colorspace=3,
            encoded_image_string=gif_bytes(film),
        )
        summary = Summary(value=[Summary.Value(tag="forecast/gif", image=image)])
        trainer.logger.write(lambda board: board._get_file_writer().add_summary(summary, step))
        trainer.logger.save()
