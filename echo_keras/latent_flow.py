"""A sampler for any model's codes: a flow trained on them as a second stage.

An autoencoder whose aggregate posterior q(z) is not tied to a prior cannot be sampled
from. A flow trained by maximum likelihood on its codes learns q(z) afterwards, and
leaves encoder and decoder as they are (VCAE paper, Sec. 4).
"""

import contextlib
import json
import math
import os
import pathlib
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from echo_keras._files import sha256, write_json
from echo_keras.layers import (
    Chain,
    Coupling,
    Flow,
    FlowMarginal,
    MAFBlock,
    Permutation,
    Scale,
    Shift,
    arguments,
)
from echo_keras.layers.typing import Tensor
from echo_keras.training import Batches, train
from echo_keras.training.run_folder import read_json


def maf_chain(
    steps: int = 6, hidden: Sequence[int] = (64, 64), seed: int | None = None
) -> Chain:
    """The paper's flow for the codes of MNIST: affine MAFs between permutations.

    `transform` runs from base noise w to a code z: MAF, then Permutation and MAF for
    every further step, Scale, Shift. The paper's table lists the links in
    this order but from z to w. Here scale and shift stand next to z instead, where
    `adapt` standardises the codes before any network sees them.

    Permutations are in turn "reverse" and "random": of any two dimensions, each comes
    first in one of the two MAFs around a reversal.

    Args:
        steps: Int >= 1, the number of MAFs.
        hidden: Ints, the units of each hidden layer of a MAF, each at least d - 1.
        seed: Int or None, for the random permutations.

    Returns:
        A `Chain`.

    Raises:
        ValueError: an argument is not as above.

    Example:

    >>> flow = maf_chain()
    >>> flow.build((None, 16))
    >>> flow.count_params()  # 6 x 7,328 and 2 x 16
    44000

    References:
        VCAE paper, App. B, Table 5 (MNIST). Papamakarios et al. 2017, Sec. 3.
    """

    def maf(number: int) -> MAFBlock:
        return MAFBlock(steps=1, hidden=hidden, mean_only=False, name=f"maf_{number}")

    links = _interleave(steps, maf, ("reverse", "random"), seed)
    return Chain([*links, Scale(name="scale"), Shift(name="shift")])


def real_nvp_chain(
    steps: int = 8, hidden: Sequence[int] = (256, 256, 256), seed: int | None = None
) -> Chain:
    """The paper's flow for the codes of CelebA: couplings between permutations.

    As fast to sample from as to measure densities with. Every third permutation is
    "random" and the others are "swap", so that three couplings in a row change every
    dimension (two where d is even).

    It has no scale and shift of its own. Codes far from mean 0 and variance 1 want
    them: `Chain([real_nvp_chain(), Scale(), Shift()])`.

    Args:
        steps: Int >= 1, the number of couplings.
        hidden: Ints, the units of each hidden layer of a coupling.
        seed: Int or None, for the random permutations.

    Returns:
        A `Chain`, for codes of at least 2 dimensions.

    Raises:
        ValueError: an argument is not as above.

    Example:

    >>> flow = real_nvp_chain()
    >>> flow.build((None, 64))
    >>> flow.count_params()  # 8 x 156,480
    1251840

    References:
        VCAE paper, App. B, Table 5 (CelebA). Dinh et al. 2017, Sec. 3.
    """

    def coupling(number: int) -> Coupling:
        return Coupling(hidden, name=f"coupling_{number}")

    return Chain(_interleave(steps, coupling, ("swap", "swap", "random"), seed))


def _interleave(
    steps: int, link: Callable[[int], Flow], orders: Sequence[str], seed: int | None
) -> list[Flow]:
    """`steps` links with a permutation between any two, whose orders come in turn."""
    steps = arguments.integer("steps", steps, high=arguments.STEPS_MAX)
    seed = arguments.seed(seed)
    flows = [link(0)]
    for number in range(1, steps):
        order = orders[(number - 1) % len(orders)]
        # A seed of its own for each, or all random orders would be one.
        own = None if seed is None else (seed + number) % 2**32
        flows += [Permutation(order, own, name=f"order_{number}"), link(number)]
    return flows


@keras.saving.register_keras_serializable(package="echo_keras")
class NegativeLogProb(keras.losses.Loss):
    """The negative of what the model returns; the targets do not matter.

    For a model that returns log m(z), shape (batch,), this is maximum likelihood.

    Example:

    >>> loss = NegativeLogProb()
    >>> float(loss(np.zeros((2, 3)), np.array([-1.0, -3.0])))
    2.0

    References:
        VCAE paper, Sec. 4, Eq. 9.
    """

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return -y_pred


class NoisyBatches(Batches):
    """`Batches` of codes with Gaussian noise, drawn afresh for every batch.

    Args:
        codes: Array (n, d), float32.
        batch_size: Int >= 1; the last batch may be smaller.
        seed: Int >= 0.
        noise_variance: Float >= 0, of each dimension's noise.
        epoch: Int >= 0, the first epoch.

    Example:

    >>> batches = NoisyBatches(np.zeros((1000, 2)), 500, seed=0, noise_variance=0.25)
    >>> z, _ = batches[0]
    >>> z.shape, round(float(z.std()), 1)
    ((500, 2), 0.5)
    """

    def __init__(
        self,
        codes: np.ndarray,
        batch_size: int,
        seed: int,
        noise_variance: float = 0.0,
        epoch: int = 0,
    ) -> None:
        self.noise_variance = arguments.number("noise_variance", noise_variance, low=0)
        super().__init__(codes, batch_size, seed, epoch=epoch)

    def batch(
        self, index: int, epoch: int, order: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        z, _ = super().batch(index, epoch, order)
        if self.noise_variance:
            # Of the epoch's number: a resumed training goes on with the same noise.
            noise = np.random.RandomState([self.seed, epoch, index])
            z = z + math.sqrt(self.noise_variance) * noise.normal(size=z.shape)
        z = z.astype("float32")
        return z, z


def fit_latent_flow(
    codes: Tensor,
    flow: Flow | None = None,
    epochs: int = 100,
    batch_size: int = 100,
    learning_rate: float = 1e-3,
    noise_variance: float = 0.0,
    directory: str | os.PathLike | None = None,
    seed: int = 0,
    verbose: int | None = 0,
) -> FlowMarginal:
    """Learns the density of codes with a flow, and so a sampler for their model.

    Maximises the mean of `log m(z) = log b(w) + log |det dw/dz|`, w the image of
    z under the flow's inverse and b the standard normal (Eq. 9), by Adam at a constant
    rate. Where the flow has an `adapt`, as a `Chain` does, its scales and shifts
    start from mean and variance of the codes.

    `noise_variance` is that of a channel's fixed noise (0.05 in the paper), for codes
    taken before the noise: it is added afresh to every batch, as in Algorithm 1.

    Args:
        codes: Array or tensor (n, d), n >= 2, of any model's codes.
        flow: A `Flow` without a context; `maf_chain(seed=seed)` if None. What is
            trained is a new flow of its configuration: the one handed over, and what
            it may have learnt, stay as they are.
        epochs, batch_size: Ints >= 1.
        learning_rate: Float > 0, Adam's.
        noise_variance: Float >= 0.
        directory: Folder for checkpoint and logs, in which an interrupted training is
            resumed and a finished one is read again; a temporary one if None.
        seed: Int >= 0 for initialisation, order of the data, noise and samples.
        verbose: As in `training.train`.

    Returns:
        A trained `FlowMarginal`: `log_prob(z)` in nats, (n, d) -> (n,), and
        `sample(n)` -> (n, d).

    Raises:
        ValueError: codes are not at least 2 rows of finite numbers, a dimension is
            constant and there is no noise, an argument is out of range, or `directory`
            holds the training of other codes or arguments.
        FloatingPointError: the loss became NaN or infinite.

    Example:

    >>> codes = np.random.default_rng(0).normal(3.0, 2.0, size=(200, 2))
    >>> marginal = fit_latent_flow(codes, maf_chain(2, (8,)), epochs=1)
    >>> tuple(marginal.sample(5).shape), tuple(marginal.log_prob(codes).shape)
    ((5, 2), (200,))

    References:
        VCAE paper, Sec. 4, Eq. 9, Algorithm 1, App. B.3.1 and B.4.1.
    """
    noise_variance = arguments.number("noise_variance", noise_variance, low=0)
    seed = arguments.seed(seed, optional=False)
    directory = arguments.path("directory", directory, optional=True)
    codes = _check_codes(codes, noise_variance)
    if flow is None:
        flow = maf_chain(seed=seed)
    flow = arguments.layer("flow", flow, kind=Flow)
    # What `train` cannot tell from the arguments that it compares itself.
    origin = {
        "codes": sha256(codes),
        "flow": _without_names(flow.get_config()),
        "noise_variance": noise_variance,
    }

    def build() -> keras.Model:
        write_json(folder / "latent_flow.json", origin)
        new = type(flow).from_config(flow.get_config())
        if hasattr(new, "adapt"):
            # Together they have the codes' mean, and their variance plus the noise's.
            step = math.sqrt(noise_variance)
            new.adapt(np.concatenate([codes + step, codes - step]))
        # Not the policy's dtype: half precision would cost the codes their digits.
        inputs = keras.Input(codes.shape[1:], dtype="float32")
        return keras.Model(inputs, FlowMarginal(new, seed=seed)(inputs))

    with contextlib.ExitStack() as stack:
        if directory is None:
            directory = stack.enter_context(tempfile.TemporaryDirectory())
        folder = pathlib.Path(directory)
        _check_folder(folder, origin)
        model, _ = train(
            build,
            NoisyBatches(codes, batch_size, seed, noise_variance),
            folder,
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            schedule="constant",
            loss=NegativeLogProb(),
            seed=seed,
            verbose=verbose,
        )
    return model.layers[-1]


def _check_codes(codes: Tensor, noise_variance: float) -> np.ndarray:
    codes = arguments.array("codes", codes, "(n, d)", finite=False)
    if codes.ndim != 2 or len(codes) < 2 or not codes.shape[1]:
        raise ValueError(
            f"codes must have shape (n, d) with n >= 2. Received: shape={codes.shape}"
        )
    # NumPy does not count bfloat16, the codes of a model in half precision, as a float.
    if codes.dtype.kind not in "fiu" and codes.dtype.name != "bfloat16":
        raise ValueError(f"codes must be real numbers. Received: dtype={codes.dtype}")
    with np.errstate(over="ignore"):  # told below
        codes = codes.astype("float32")
    bad = int((~np.isfinite(codes)).sum())
    if bad:
        raise ValueError(
            f"codes must be finite in float32. Received: {bad} values that are not"
        )
    constant = np.flatnonzero(codes.min(axis=0) == codes.max(axis=0))
    if len(constant) and not noise_variance:
        raise ValueError(
            "codes must vary in every dimension, or have a noise_variance > 0. "
            f"Received: codes constant in the dimensions {constant.tolist()}"
        )
    return codes


def _check_folder(folder: pathlib.Path, origin: dict[str, Any]) -> None:
    """Refuses a checkpoint of other codes, of another flow or of other noise."""
    if not (folder / "checkpoint.keras").exists():
        return
    path = folder / "latent_flow.json"
    before = {}
    if path.exists():
        before = read_json(path, dict, "what the training is of")
    found = json.loads(json.dumps(origin))
    changed = [name for name in found if found[name] != before.get(name)]
    if changed:
        raise ValueError(
            f"The checkpoint in {folder.name} was made with another "
            f"{', '.join(changed)}: use another folder, or remove it."
        )


def _without_names(config: Any) -> Any:
    """A flow's configuration without what may differ between like flows.

    Keras numbers the names, unseeded permutations draw their seeds, and a flow that
    was used before knows its shape.
    """
    if isinstance(config, dict):
        return {
            key: _without_names(value)
            for key, value in config.items()
            if key not in ("name", "seed", "build_config")
        }
    if isinstance(config, (list, tuple)):
        return [_without_names(value) for value in config]
    return config
