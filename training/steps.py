"""The steps of a training iteration: the method's whole core.

Shapes: N samples of a pass, K classes, L local layers, D latent width, R resolution. A pass is the part of this
process's batch that is sent through the networks at once; an optimiser step averages over passes and processes.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from datasets.augment import Augmentation
from datasets.class_files import default_table
from losses import (
    LossConfig,
    PathLength,
    discriminator_loss,
    generator_loss,
    mask_loss,
    path_length_loss,
    path_lengths,
    penalty_scale,
    r1_penalties,
    relativistic_loss,
)
from models.discriminator import GROUP_SIZE
from models.generator import GeneratorOutput
from models.latents import mix_styles
from ops import no_parameter_gradients
from training.ada import ADAPT_EVERY, adapt
from training.batches import split_records
from training.cuda_graphs import Step, StepGraphs
from training.discriminator_inputs import Inputs, PairView, Records, View
from training.ema import ramped_half_life, update_ema
from training.gradient_reducer import GradientReducer
from training.precision import AdversarialNetworks
from training.run.nonfinite import StepGuard
from training.state import TrainingState
from training.stats import Stats
from training.training_config import TrainingConfig
from utils.distributed import mean_over_processes


class Phases:
    """Discriminator and generator steps, each now and then followed by its penalty.

    Args:
        state: what the steps change.
        losses: weights and intervals.
        training: precision, compilation, the whole batch, half-life of the averaged generator.
        stats: where losses and times are reported.
        view: what the discriminator is shown; default: images with their segmentations, as they are.
    """

    def __init__(
        self,
        state: TrainingState,
        losses: LossConfig,
        training: TrainingConfig,
        stats: Stats,
        view: View | None = None,
    ) -> None:
        self.state = state
        self.losses = losses
        self.training = training
        self.stats = stats
        config = state.generator.config
        self.view = view or PairView(default_table(config.num_classes), state.path_mean.device)
        self.penalty_scale = (
            penalty_scale(config.resolution, training.batch_size) if losses.r1_scale_with_resolution else 1.0
        )
        self.networks = AdversarialNetworks(state.generator, state.discriminator, training)
        changes = {
            "discriminator": state.discriminator,
            "r1": state.discriminator,  # and R2
            "generator": state.generator,
            "path_length": state.generator,
        }
        self.reducers = {step: GradientReducer(module.parameters()) for step, module in changes.items()}
        self.guard = StepGuard(changes, state.path_mean.device)
        uses_graphs = training.cuda_graphs and state.is_on_gpu
        self.graphs = StepGraphs(self.steps(), self.stats, self.guard) if uses_graphs else None

    def iterate(self, batch: Sequence[Records], total_batch: int) -> None:
        """One iteration on this process's passes of a batch of `total_batch` images."""
        state, losses = self.state, self.losses
        self.guard.begin(state.iteration, state.images, batch)
        batch = self.graphs.load(batch) if self.graphs else batch
        self._run("discriminator", batch)
        if self.view.augmentation and self.view.augmentation.config.target:
            self._adapt_augmentation(self.view.augmentation, total_batch)
        if losses.r1_every and state.iteration % losses.r1_every == 0:
            self._run("r1", batch)
        self._run("generator", batch)
        if losses.path_length_every and state.iteration % losses.path_length_every == 0:
            self._run("path_length", batch)
        with self.stats.phase("ema"):
            half_life = ramped_half_life(self.training.ema_half_life_images, state.images, self.training.ema_rampup)
            update_ema(state.generator_ema, state.generator, total_batch, half_life)
        state.images += total_batch
        state.iteration += 1

    def steps(self) -> dict[str, Step]:
        """The optimizer steps that the losses ask for, by phase."""
        every = {"r1": self.losses.r1_every, "path_length": self.losses.path_length_every}
        steps: dict[str, Step] = {
            "discriminator": self._train_discriminator,
            "r1": self._penalize_discriminator,
            "generator": self._train_generator,
            "path_length": self._regularize_paths,
        }
        return {name: step for name, step in steps.items() if every.get(name, 1)}

    def _run(self, name: str, batch: Sequence[Records]) -> None:
        """One phase, as a CUDA graph if the configuration says so."""
        step = self.steps()[name]
        with self.stats.phase(name):
            self.guard.begin_step()
            if self.graphs:
                self.graphs.run(name, step, batch)
            else:
                step(batch)

    def _train_discriminator(self, batch: Sequence[Records]) -> None:
        self._step("discriminator", self.state.discriminator_optimizer, batch, self._judge)

    def _penalize_discriminator(self, batch: Sequence[Records]) -> None:
        """R1, and R2 where it has a weight, on a part of each pass at a time: their graphs are the largest."""
        penalties = [self._penalize_real] + [self._penalize_drawn] * self.losses.has_r2
        # Groups of the minibatch standard deviation stay whole.
        groups = max(1, len(batch[0][0]) // GROUP_SIZE)
        parts = next((n for n in range(2, groups + 1) if groups % n == 0), 1)
        self._step("r1", self.state.discriminator_optimizer, batch, *penalties, parts=parts)

    def _train_generator(self, batch: Sequence[Records]) -> None:
        with _frozen(self.state.discriminator):
            self._step("generator", self.state.generator_optimizer, batch, self._deceive)

    def _step(
        self,
        step: str,
        optimizer: torch.optim.Optimizer,
        batch: Sequence[Records],
        *terms: Callable[[Records], Tensor],
        parts: int = 1,
    ) -> None:
        """One step on a sum of terms, whose graphs never stand in memory together, nor those of a pass's parts."""
        scaler = self.state.loss_scaler  # passes everything through but in float16
        optimizer.zero_grad(set_to_none=True)
        todo = [(term, part) for records in batch for part in split_records(records, parts) for term in terms]
        losses = []
        for index, (term, records) in enumerate(todo, 1):
            losses.append(term(records) / (len(batch) * parts))
            self.reducers[step].backward(scaler.scale(losses[-1]), last=index == len(todo))
            losses[-1] = losses[-1].detach()  # its graph ends here
        if not scaler.is_enabled():  # which does the same, and lowers the scale

            def compute(batch: Sequence[Records]) -> None:
                for records in batch:
                    for part in split_records(records, parts):
                        for term in terms:
                            term(part)

            self.guard.look(step, torch.stack(losses).sum(), optimizer, compute)
        scaler.step(optimizer)
        scaler.update()

    def _judge(self, records: Records) -> Tensor:
        """The discriminator's loss on real records and as many drawings."""
        with torch.no_grad():
            fake = self._draw(len(records[0]))
        real_logits, fake_logits = self.networks.score(self._real_inputs(records), self._fake_inputs(fake))
        self._count_signs(real_logits, fake_logits)
        adversarial = relativistic_loss if self.losses.relativistic else discriminator_loss
        loss = adversarial(real_logits, fake_logits)
        self._report(discriminator=loss, score_real=real_logits, score_fake=fake_logits)
        return loss

    def _penalize_real(self, records: Records) -> Tensor:
        """R1, on all that is seen of real records."""
        return self._penalty("r1", self._real_inputs(records))

    def _penalize_drawn(self, records: Records) -> Tensor:
        """R2, on all that is seen of drawings."""
        with torch.no_grad():
            fake = self._fake_inputs(self._draw(len(records[0])))
        return self._penalty("r2", fake)

    def _penalty(self, name: str, inputs: Inputs) -> Tensor:
        """Each input's by its weight, scaled up by the interval between two such steps."""
        inputs = tuple(x.requires_grad_() for x in inputs)
        with no_parameter_gradients():
            found = r1_penalties(self.state.discriminator(*inputs), inputs)
        penalties = {f"{name}_{kind}": penalty for kind, penalty in zip(self.view.inputs, found, strict=True)}
        self._report(**penalties)
        weighted = torch.stack([getattr(self.losses, kind) / 2 * penalty for kind, penalty in penalties.items()])
        return self.losses.r1_every * self.penalty_scale * weighted.sum()

    def _deceive(self, records: Records) -> Tensor:
        """The generator's adversarial loss and the mask regularisation."""
        fake = self._draw(len(records[0]))
        (fake_logits,) = self.networks.score(self._fake_inputs(fake))
        if self.losses.relativistic:
            with torch.no_grad():
                (real_logits,) = self.networks.score(self._real_inputs(records))
            adversarial = relativistic_loss(fake_logits, real_logits)
        else:
            adversarial = generator_loss(fake_logits)
        mask = mask_loss(fake.coarse, fake.segmentation)
        self._report(generator=adversarial, mask=mask)
        return adversarial + self.losses.mask * mask

    def _regularize_paths(self, batch: Sequence[Records]) -> None:
        """Path length regularisation; the running mean moves once, by the average over the passes."""
        state, means = self.state, []

        def loss(records: Records) -> Tensor:
            penalty = self._path_length(len(records[0]))
            means.append(penalty.mean)
            return self.losses.path_length_every * self.losses.path_length * penalty.loss

        self._step("path_length", state.generator_optimizer, batch, loss)
        mean = torch.stack(means).mean()
        state.path_mean.copy_(mean.where(mean.isfinite(), state.path_mean))  # what went bad once shall not stay

    def _path_length(self, batch_size: int) -> PathLength:
        """The penalty on a share of so many images."""
        generator = self.state.generator
        samples = max(1, round(batch_size * self.losses.path_length_batch_share))
        layer_codes = generator.expand(self._codes(samples)).detach().requires_grad_()
        image = generator.synthesis_from_layer_codes(layer_codes, noise="random").image
        with no_parameter_gradients():
            lengths = path_lengths(image, layer_codes, torch.randn_like(image))
        penalty = path_length_loss(lengths, self.state.path_mean, mean_over_processes)
        self._report(path_length=lengths, path_length_penalty=penalty.loss)
        return penalty

    def _codes(self, samples: int) -> Tensor:
        """W+ codes [N, B + 2K, D] of new samples, some with mixed styles."""
        generator = self.state.generator
        z = torch.randn(2 * samples, generator.config.latent_dim, device=self.state.path_mean.device)
        first, second = generator.mapping(z).chunk(2)
        return mix_styles(first, second, self.losses.style_mixing, generator.config)

    def _draw(self, samples: int) -> GeneratorOutput:
        return self.networks.draw(self._codes(samples))

    def _count_signs(self, real_logits: Tensor, fake_logits: Tensor) -> None:
        if self.view.augmentation and self.view.augmentation.config.target:
            # A relativistic logit's sign means nothing by itself, only in relation to its partner's.
            verdicts = real_logits - fake_logits if self.losses.relativistic else real_logits
            signs = verdicts.detach().sign().nan_to_num()
            self.state.augment_signs += torch.stack([signs.sum(), torch.ones_like(signs).sum()])

    def _adapt_augmentation(self, augmentation: Augmentation, total_batch: int) -> None:
        state = self.state
        if (state.iteration + 1) % ADAPT_EVERY == 0:
            images = ADAPT_EVERY * total_batch
            mean_sign = adapt(state.augment_probability, state.augment_signs, images, augmentation.config)
            self.stats.report("augment/mean_sign", mean_sign)
        self.stats.report("augment/probability", state.augment_probability)

    def _real_inputs(self, records: Records) -> Inputs:
        return self.view.real(records, self.state.augment_probability)

    def _fake_inputs(self, fake: GeneratorOutput) -> Inputs:
        return self.view.drawn(fake, self.state.augment_probability)

    def _report(self, **values: Tensor) -> None:
        for name, value in values.items():
            self.stats.report(f"losses/{name}", value)


@contextmanager
def _frozen(module: nn.Module) -> Iterator[None]:
    """No gradients for a module's own parameters: they would be computed only to be thrown away."""
    module.requires_grad_(False)
    try:
        yield
    finally:
        module.requires_grad_(True)
