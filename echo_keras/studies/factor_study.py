"""Studies of disentanglement, on images whose factors are known."""

from typing import Any

import numpy as np

from echo_keras import metrics
from echo_keras.data import factors
from echo_keras.metrics import disentanglement

from .evaluation import evaluated
from .study import Config, Run, Study, keep

STEPS_PER_EPOCH = 1000  # between two checkpoints
TEST_IMAGES = 5000


def scores(run: Run) -> dict[str, float]:
    """FactorVAE score and MIG of the code without noise, both in [0, 1]."""
    encoder = metrics.representation(run.model)
    votes, seed = run.config["votes"], run.config["seed"]
    return {
        "factor_vae": disentanglement.factor_vae_score(
            encoder,
            run.dataset,
            votes=votes,
            test_votes=votes // 2,
            points=votes,
            seed=seed,
        ),
        "mig": disentanglement.mig(encoder, run.dataset, points=votes, seed=seed),
    }


class FactorStudy(Study):
    """A study that trains on random batches of a data set with known factors.

    These data sets have no test set: rate and distortion are measured on random
    images, which the model may have been trained on. See `Study`; the data sets are
    those of `data.factors`, and a training is `steps` long.

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
    }

    def load(self, config: Config, data_dir: str | None = None) -> Any:
        name = config["dataset"]
        return keep((name, "factors", data_dir), factors.load, name, data_dir)

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

    def test(self, run: Run) -> dict[str, Any]:
        count = min(TEST_IMAGES, 10 * run.config["votes"])  # few for a quick look
        rows = run.dataset.sample(count, np.random.RandomState(run.config["seed"]))
        x, batch_size = run.dataset.images(rows), run.config["batch_size"]
        return evaluated(run.model, x, echoes=metrics.ECHOES, batch_size=batch_size)
