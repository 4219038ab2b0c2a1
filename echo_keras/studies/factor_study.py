"""Studies of disentanglement, on images whose factors are known."""

from typing import Any

import keras
import numpy as np

from echo_keras import metrics
from echo_keras.data import factors
from echo_keras.layers import Channel
from echo_keras.metrics import disentanglement
from echo_keras.model import find_layers

from .evaluation import evaluated
from .study import Config, Run, Study, keep

STEPS_PER_EPOCH = 1000  # between two checkpoints
TEST_IMAGES = 5000
REMOVED_PAIRS = ("own", "shared")


USED = 0.1  # nats above the least rate of a dimension


def scores(run: Run) -> dict[str, Any]:
    """Scores of the code's mean, in [0, 1], from a configuration's votes and points.

    Returns:
        A dict with `factor_vae` and `mig`. Where the rate is a sum over dimensions,
        also `used`, how many dimensions have a rate of 0.1 nats or more above the
        least of their channel, and `factor_vae_used`, the score of these alone: of a
        Gaussian and an Echo channel the same rule drops the dimensions that serve
        nothing, which the standard's threshold on standard deviations does not.
    """
    encoder = metrics.representation(run.model)
    found = {"factor_vae": _factor_vae(run, encoder), "mig": _mig(run, encoder)}
    used = used_dimensions(run)
    if used is not None:
        of_used = _factor_vae(run, encoder, used=used)
        found |= {"factor_vae_used": of_used, "used": int(used.sum())}
    return found


def sampled_scores(run: Run) -> dict[str, float]:
    """`factor_vae` and `mig` of codes with their noise, as the Echo paper's code has.

    Echoes come from the bank: from a batch whose images share a factor, a dimension
    that encodes it would have noise without variance.
    """
    seed = run.config["seed"]
    encoder = metrics.representation(run.model, noisy=True, seed=seed)
    return {"factor_vae": _factor_vae(run, encoder), "mig": _mig(run, encoder)}


def _factor_vae(run, encoder, **more):
    votes, points = run.config["votes"], run.config["points"]
    sizes = {"votes": votes, "test_votes": max(1, votes // 2), "points": points}
    return disentanglement.factor_vae_score(
        encoder, run.dataset, **sizes, seed=run.config["seed"], **more
    )


def _mig(run, encoder):
    points, seed = run.config["points"], run.config["seed"]
    return disentanglement.mig(encoder, run.dataset, points=points, seed=seed)


def used_dimensions(run: Run) -> np.ndarray | None:
    """Which dimensions have a rate of 0.1 nats or more above their channel's least.

    Returns:
        Bools (d,); None where the rate is no sum over dimensions.
    """
    rates = metrics.rate_by_dimension(
        run.model, test_images(run), run.config["batch_size"]
    )
    if rates is None:
        return None
    (channel,) = find_layers(run.model, Channel)
    return rates >= getattr(channel, "min_rate", 0.0) / len(rates) + USED


def test_images(run: Run) -> np.ndarray:
    """Random images, the same for all models of a seed; few for a quick look."""
    count = min(TEST_IMAGES, 10 * run.config["points"])
    rows = run.dataset.sample(count, np.random.RandomState(run.config["seed"]))
    return run.dataset.images(rows)


class FactorStudy(Study):
    """A study that trains on random batches of a data set with known factors.

    These data sets have no test set: rate and distortion are measured on random
    images, which the model may have been trained on. See `Study`; the data sets are
    those of `data.factors`, and a training is `steps` long. `votes` train the
    FactorVAE score; MIG, and the variances of that score, come from `points` images.

    Each seed has a `dsprites_dependent` of its own, which pairs of factors are removed
    from, so that results do not hang on one draw. A configuration with
    `removed_pairs="shared"` has those of seed 0 for all seeds.

    Example:

    >>> study = FactorStudy(name="mine", build=None, protocol={"steps": 5000})
    >>> study.configs("dsprites")[0]["votes"]
    10000

    References:
        Locatello et al., Challenging Common Assumptions (2019), for the protocol.
    """

    DEFAULTS = {
        "steps": 300_000,
        "batch_size": 64,
        "learning_rate": 1e-4,
        "votes": 10_000,
        "points": 10_000,
        "precision": "float32",
    }

    def load(self, config: Config, data_dir: str | None = None) -> Any:
        name, pairs = config["dataset"], config.get("removed_pairs", "own")
        if pairs not in REMOVED_PAIRS:
            raise ValueError(
                f"removed_pairs must be one of {', '.join(REMOVED_PAIRS)}. Received: "
                f"removed_pairs={pairs!r}"
            )
        own = name == "dsprites_dependent" and pairs == "own"
        seed = config["seed"] if own else 0
        key = name, "factors", data_dir, seed
        return keep(key, factors.load, name, data_dir, seed=seed)

    def describe(self, dataset: Any) -> dict[str, Any]:
        return {
            "source": dataset.source,
            "description": dataset.description,
            "checksum": dataset.checksum,
            "training_examples": len(dataset),
            "validation": "none",
        }

    def feed(self, config: Config, dataset: Any) -> dict[str, Any]:
        steps = min(config["steps"], STEPS_PER_EPOCH)
        if config["steps"] % steps:
            raise ValueError(
                f"steps must be a multiple of {steps}. Received: "
                f"steps={config['steps']}"
            )
        return {
            "x": dataset.batches(config["batch_size"], steps, config["seed"]),
            "epochs": config["steps"] // steps,
        }

    def watch(self, config: Config, dataset: Any, model: keras.Model) -> dict[str, Any]:
        """The MIG of the code's mean, for a curve over `measure_every` epochs."""
        encoder, points = metrics.representation(model), config["points"]
        found = disentanglement.mig(
            encoder, dataset, points=points, seed=config["seed"]
        )
        return {"mig": found}

    def test(self, run: Run) -> dict[str, Any]:
        size = run.config["batch_size"]
        return evaluated(
            run.model, test_images(run), echoes=metrics.ECHOES, batch_size=size
        )
