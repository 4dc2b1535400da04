"""The optimizer steps of a training iteration: discriminator, R1, generator, path length.

Each step accumulates gradients over this process's micro-batches and averages them over the processes.
Shapes: N samples of a micro-batch, K parts (one per class), B base vectors of a W+ code, D latent width.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from losses.adversarial import discriminator_loss, generator_loss, relativistic_loss
from losses.edit_locality import locality_loss
from losses.gradient_penalty import gradient_penalties, penalty_scale
from losses.loss_config import LossConfig
from losses.mask import depth_cross_entropy, mask_loss
from losses.path_length import path_length_loss, path_lengths
from models.discriminator import GROUP_SIZE
from models.generator import GeneratorOutput
from models.latents import exchange_one, mix_styles
from ops import no_parameter_gradients
from training.ada import ADAPT_EVERY, adapt, count_signs
from training.cuda_graphs import StepGraphs
from training.discriminator_inputs import DiscriminatorInputs, Inputs, MicroBatch, split
from training.ema import ramped_half_life, update_ema
from training.gradient_reducer import GradientReducer
from training.nonfinite_guard import NonfiniteGuard
from training.precision import AdversarialNetworks
from training.state import TrainingState
from training.stats import Stats
from training.training_config import TrainingConfig
from utils.distributed import mean_over_processes

Loss = Callable[[MicroBatch], Tensor]


class Stream(NamedTuple):
    """Samples that the discriminator scores: images with masks, or images without."""

    inputs: DiscriminatorInputs
    weight: float = 1.0  # of the adversarial losses and penalties
    suffix: str = ""  # with which names of reported losses end


@dataclass
class OptimizerStep:
    """One kind of optimizer step.

    Attributes:
        network: the network that the step trains.
        optimizer: the network's optimizer.
        terms: functions whose sum is the loss. Each takes a micro-batch and returns a scalar, a mean over samples times
            its weight and `every`. It reports the same names to `stats` in all processes. For CUDA graphs, it must not
            read values from the device, use CPU randomness, or depend on Python values that change.
        every: interval in iterations; 0 switches the step off.
        splits_further: True if the step uses the smaller micro-batches of `split_for_penalty`.
    """

    network: nn.Module
    optimizer: torch.optim.Optimizer
    terms: Sequence[Loss]
    every: int = 1
    splits_further: bool = False

    def __post_init__(self) -> None:
        self.reducer = GradientReducer(self.network.parameters())


class TrainingSteps:
    """Discriminator and generator steps, each followed by its regularization step at an interval (lazy regularization).

    Args:
        state: networks, optimizers and counters, which the steps change.
        losses: weights and intervals of the losses.
        training: batch size, precision, compilation, CUDA graphs, half-life of the generator's moving average.
        stats: collects losses and times.
        inputs: converts real and fake samples to the discriminator's inputs.
        unlabelled: like `inputs`, for the images without masks that join the pairs; None without such images.
    """

    def __init__(
        self,
        state: TrainingState,
        losses: LossConfig,
        training: TrainingConfig,
        stats: Stats,
        inputs: DiscriminatorInputs,
        unlabelled: DiscriminatorInputs | None = None,
    ) -> None:
        self.state = state
        self.losses = losses
        self.training = training
        self.stats = stats
        config, device = state.generator.config, state.path_mean.device
        self.inputs = inputs
        self.streams = [Stream(inputs)]
        if unlabelled:
            self.streams.append(Stream(unlabelled, losses.unlabelled, "_unlabelled"))
        scaled = losses.r1_scale_with_resolution
        self.penalty_scale = penalty_scale(config.image_size, training.batch_size) if scaled else 1.0
        self.networks = AdversarialNetworks(state.generator, state.discriminator, training)
        generator = (state.generator, state.generator_optimizer)
        discriminator = (state.discriminator, state.discriminator_optimizer)
        kinds = (self._r1_loss, self._r2_loss) if losses.has_r2 else (self._r1_loss,)
        penalties = [partial(penalty, stream) for penalty in kinds for stream in self.streams]
        steps = {
            "discriminator": OptimizerStep(*discriminator, [self._discriminator_loss]),
            "r1": OptimizerStep(*discriminator, penalties, losses.r1_every, splits_further=True),
            "generator": OptimizerStep(*generator, [self._generator_loss]),
            "path_length": OptimizerStep(*generator, [self._path_length_loss], losses.path_length_every),
            "locality": OptimizerStep(*generator, [self._locality_loss], losses.locality_every),
        }
        self.schedule = {name: step for name, step in steps.items() if step.every}
        self._path_means: list[Tensor] = []  # running means after each micro-batch of a path length step
        networks = {name: step.network for name, step in self.schedule.items()}
        self.guard = NonfiniteGuard(networks, device, is_enabled=not state.loss_scaler.is_enabled())
        use_graphs = training.cuda_graphs and state.is_on_gpu
        self.graphs = StepGraphs(self.step, self.schedule, self.stats, self.guard) if use_graphs else None

    def iterate(self, batch: Sequence[MicroBatch]) -> None:
        """Run one iteration on this process's micro-batches of a batch of `training.batch_size` images in total.

        Micro-batches are uint8. Each loss term converts one to the discriminator's inputs (float images and one-hot
        masks), computes logits [N, 1] from them, and a loss from the logits, as in `_discriminator_loss`.
        """
        state, stats, batch_size = self.state, self.stats, self.training.batch_size
        self.guard.begin(state.iteration, state.images, batch)
        batch = self.graphs.load(batch) if self.graphs else batch
        run_step = self.graphs.run if self.graphs else self.step

        with stats.phase("discriminator"):
            run_step("discriminator", batch)
        if self._uses_ada:
            self._adapt_augmentation()
        if self._is_due("r1"):
            with stats.phase("r1"):
                run_step("r1", batch)
        with stats.phase("generator"):
            run_step("generator", batch)
        for name in ("path_length", "locality"):
            if self._is_due(name):
                with stats.phase(name):
                    run_step(name, batch)
        with stats.phase("ema"):
            half_life = ramped_half_life(self.training.ema_half_life_images, state.images, self.training.ema_rampup)
            update_ema(state.generator_ema, state.generator, batch_size, half_life)

        state.images += batch_size
        state.iteration += 1

    def step(self, name: str, batch: Sequence[MicroBatch]) -> None:
        """Run one optimizer step on the sum of its loss terms; each term's graph is freed before the next is built."""
        step = self.schedule[name]
        scaler = self.state.loss_scaler  # does nothing unless precision is float16
        step.optimizer.zero_grad(set_to_none=True)
        micro_batches = split_for_penalty(batch) if step.splits_further else batch
        todo = [(term, micro_batch) for micro_batch in micro_batches for term in step.terms]
        losses = []
        for index, (term, micro_batch) in enumerate(todo, 1):
            losses.append(term(micro_batch) / len(micro_batches))
            step.reducer.backward(scaler.scale(losses[-1]), last=index == len(todo))
            losses[-1] = losses[-1].detach()  # frees the graph
        self.guard.check(name, torch.stack(losses).sum(), step.optimizer)
        scaler.step(step.optimizer)
        scaler.update()
        if self._path_means:
            self._update_path_mean()

    def forward(self, name: str, batch: Sequence[MicroBatch]) -> None:
        """Compute the losses of a step, without updating anything, to find where non-finite numbers first occur."""
        step = self.schedule[name]
        for micro_batch in split_for_penalty(batch) if step.splits_further else batch:
            for term in step.terms:
                term(micro_batch)
        self._path_means.clear()

    def _is_due(self, name: str) -> bool:
        return name in self.schedule and self.state.iteration % self.schedule[name].every == 0

    def _discriminator_loss(self, micro_batch: MicroBatch) -> Tensor:
        """Adversarial loss of the discriminator on real samples and the same number of fake ones."""
        with torch.no_grad():
            fake = self._generate(len(micro_batch[0]))
        adversarial = relativistic_loss if self.losses.relativistic else discriminator_loss
        losses = []
        for stream in self.streams:
            real_logits, fake_logits = self.networks.score(self._real(stream, micro_batch), self._fake(stream, fake))
            if self._uses_ada and stream.inputs is self.inputs:
                logits = real_logits - fake_logits if self.losses.relativistic else real_logits
                self.state.augment_signs += count_signs(logits)
            loss = adversarial(real_logits, fake_logits)
            self._report(stream, discriminator=loss, score_real=real_logits, score_fake=fake_logits)
            losses.append(stream.weight * loss)
        return torch.stack(losses).sum()

    def _r1_loss(self, stream: Stream, micro_batch: MicroBatch) -> Tensor:
        """Weighted R1 penalty on the discriminator's gradients at real inputs."""
        weights = {"image": self.losses.r1_image, "segmentation": self.losses.r1_segmentation}
        return self._penalty("r1", stream, self._real(stream, micro_batch), weights)

    def _r2_loss(self, stream: Stream, micro_batch: MicroBatch) -> Tensor:
        """Weighted R2 penalty on the discriminator's gradients at fake inputs."""
        weights = {"image": self.losses.r2_image, "segmentation": self.losses.r2_segmentation}
        with torch.no_grad():
            inputs = self._fake(stream, self._generate(len(micro_batch[0])))
        return self._penalty("r2", stream, inputs, weights)

    def _penalty(self, name: str, stream: Stream, inputs: Inputs, weights: Mapping[str, float]) -> Tensor:
        """Return the sum of the inputs' penalties times gamma / 2 (`weights`), `r1_every` and `penalty_scale`."""
        inputs = tuple(x.requires_grad_() for x in inputs)
        with no_parameter_gradients():
            values = gradient_penalties(self.state.discriminator(*inputs), inputs)
        penalties = dict(zip(stream.inputs.names, values, strict=True))
        self._report(stream, **{f"{name}_{kind}": penalty for kind, penalty in penalties.items()})
        weighted = torch.stack([weights[kind] / 2 * penalty for kind, penalty in penalties.items()])
        return stream.weight * self.losses.r1_every * self.penalty_scale * weighted.sum()

    def _generator_loss(self, micro_batch: MicroBatch) -> Tensor:
        """Adversarial loss of the generator plus weighted mask regularization (paper, section 3.5)."""
        discriminator = self.state.discriminator
        discriminator.requires_grad_(False)  # its parameters need no gradients; the fake samples still get them
        fake = self._generate(len(micro_batch[0]))
        losses = []
        for stream in self.streams:
            (fake_logits,) = self.networks.score(self._fake(stream, fake))
            if self.losses.relativistic:
                with torch.no_grad():
                    (real_logits,) = self.networks.score(self._real(stream, micro_batch))
                loss = relativistic_loss(fake_logits, real_logits)
            else:
                loss = generator_loss(fake_logits)
            self._report(stream, generator=loss)
            losses.append(stream.weight * loss)
        adversarial = torch.stack(losses).sum()
        discriminator.requires_grad_(True)
        mask = mask_loss(fake.coarse, fake.segmentation)
        self._report(mask=mask)
        loss = adversarial + self.losses.mask * mask
        if self.losses.depth_cross_entropy:
            cross_entropy = depth_cross_entropy(fake.depth, fake.segmentation)
            self._report(depth_cross_entropy=cross_entropy)
            loss = loss + self.losses.depth_cross_entropy * cross_entropy
        return loss

    def _path_length_loss(self, micro_batch: MicroBatch) -> Tensor:
        """Weighted path length penalty of new samples: `path_length_batch_share` as many as in the micro-batch."""
        generator, losses = self.state.generator, self.losses
        samples = max(1, round(len(micro_batch[0]) * losses.path_length_batch_share))
        layer_codes = generator.expand(self._codes(samples)).detach().requires_grad_()
        image = generator.synthesis_from_layer_codes(layer_codes, noise="random").image
        with no_parameter_gradients():
            lengths = path_lengths(image, layer_codes, torch.randn_like(image))
        penalty = path_length_loss(lengths, self.state.path_mean, mean_over_processes)
        self._path_means.append(penalty.mean)
        self._report(path_length=lengths, path_length_penalty=penalty.loss)
        return losses.path_length_every * losses.path_length * penalty.loss

    def _locality_loss(self, micro_batch: MicroBatch) -> Tensor:
        """Weighted penalty on changes outside a part, one shape or texture code of which is exchanged, times n."""
        samples = max(1, len(micro_batch[0]) // 2)  # each is generated twice
        codes, others = self._codes(2 * samples).chunk(2)
        edited, parts, texture = exchange_one(codes, others, self.state.generator.config)
        output = self.networks.generate(torch.cat([codes, edited]), noise="const")
        loss = locality_loss(output.image.chunk(2), output.segmentation.chunk(2), parts, texture)
        self._report(locality=loss)
        return self.losses.locality_every * self.losses.locality * loss

    def _update_path_mean(self) -> None:
        """Replace the running mean of path lengths by the average of the micro-batches' results, if that is finite."""
        mean = torch.stack(self._path_means).mean()
        self._path_means.clear()
        self.state.path_mean.copy_(mean.where(mean.isfinite(), self.state.path_mean))

    def _generate(self, samples: int) -> GeneratorOutput:
        return self.networks.generate(self._codes(samples))

    def _codes(self, samples: int) -> Tensor:
        """Return W+ codes [samples, B + 2K, D] of new z, some of them with style mixing."""
        generator = self.state.generator
        z = torch.randn(2 * samples, generator.config.latent_dim, device=self.state.path_mean.device)
        first, second = generator.mapping(z).chunk(2)
        return mix_styles(first, second, self.losses.style_mixing, generator.config)

    def _real(self, stream: Stream, micro_batch: MicroBatch) -> Inputs:
        return stream.inputs.real(micro_batch, self.state.augment_probability)

    def _fake(self, stream: Stream, fake: GeneratorOutput) -> Inputs:
        return stream.inputs.fake(fake, self.state.augment_probability)

    @property
    def _uses_ada(self) -> bool:
        return bool(self.inputs.augmentation and self.inputs.augmentation.config.target)

    def _adapt_augmentation(self) -> None:
        state, augmentation = self.state, self.inputs.augmentation
        if augmentation and (state.iteration + 1) % ADAPT_EVERY == 0:
            images = ADAPT_EVERY * self.training.batch_size
            mean_sign = adapt(state.augment_probability, state.augment_signs, images, augmentation.config)
            self.stats.report("augment/mean_sign", mean_sign)
        self.stats.report("augment/probability", state.augment_probability)

    def _report(self, stream: Stream | None = None, /, **values: Tensor) -> None:
        for name, value in values.items():
            self.stats.report(f"losses/{name}{stream.suffix if stream else ''}", value)


def split_for_penalty(batch: Sequence[MicroBatch]) -> list[MicroBatch]:
    """Split each micro-batch into 2 equal parts, or more if 2 would divide a minibatch-stddev group.

    Without a split that keeps groups whole, a micro-batch stays. R1 and R2 split because they need the most memory.
    """
    groups = max(1, len(batch[0][0]) // GROUP_SIZE)
    parts = next((n for n in range(2, groups + 1) if groups % n == 0), 1)
    return [part for micro_batch in batch for part in split(micro_batch, parts)]
