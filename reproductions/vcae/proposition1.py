r"""Proposition 1 of Variance Constrained Autoencoding: noise penalizes a Jacobian.

    python reproductions/vcae/proposition1.py --runs 5                  # digits
    python reproductions/vcae/proposition1.py --dataset mnist --data_dir FOLDER

Eq. 5 (Sec. 3, App. A.1): noise of a small variance on the code adds this variance times
the squared Frobenius norm of the decoder's Jacobian to the squared error. VCAEs with
dense networks are trained with noise of several variances; then noise of others is
added to the codes of test images, and the error that it adds is compared with Eq. 5.
The proof takes the decoder for linear before it squares: the term of the same order
that it so leaves out, of the decoder's second derivatives, is measured beside it. The
paper has no experiment on this: the protocol is our own.
"""

import numpy as np

from echo_keras import metrics, networks, objectives
from echo_keras.losses import SquaredError
from echo_keras.metrics.batching import with_standard_error
from echo_keras.studies import (
    Claim,
    Column,
    Script,
    Study,
    Table,
    all_of,
    differ,
    mean,
    mean_and_error,
    plus_minus,
    records,
    start,
)

ADDED = [0.0001, 0.001, 0.01, 0.05, 0.2, 1.0]
DRAWS = 10
HELD = 0.1  # of what is predicted: what counts as held
PROTOCOL = {"latent_dim": 8, "weight": 1.0, "epochs": 40, "batch_size": 50}
PROTOCOL |= {"learning_rate": 1e-3}


def build(config, dataset):
    shape = dataset.x_train.shape[1:]
    return objectives.vcae(
        networks.dense_encoder(shape),
        lambda latent_dim: networks.dense_decoder(latent_dim, shape),
        config["latent_dim"],
        weight=config["weight"],
        noise_variance=config["noise"],
    )


def few(run):
    return metrics.evenly_spaced(run.dataset.x_test, 1000)


def jacobian(run):
    return metrics.noise_sensitivity(run.model, few(run))


def posterior(run):
    return metrics.aggregate_posterior(metrics.encode(run.model, run.dataset.x_train))


def added(run):
    """Errors of codes without noise, and how much noise of each variance adds."""
    x, generator = few(run), np.random.RandomState(run.config["seed"])
    codes = metrics.encode(run.model, x, noisy=False)

    def errors(noise=0.0):
        difference = metrics.images(run.model, codes + noise).astype("float64") - x
        return np.square(difference).reshape(len(x), -1).sum(axis=1)

    alone, found = errors(), {}
    for variance in ADDED:
        more = 0.0
        for _ in range(DRAWS):
            noise = variance**0.5 * generator.normal(size=codes.shape)
            noise = noise.astype("float32")
            # In pairs of opposite noise what is linear in it cancels.
            more = more + (errors(noise) + errors(-noise)) / 2 - alone
        found[f"{variance:g}"] = with_standard_error("error", more / DRAWS)
    return {**with_standard_error("alone", alone), "by_variance": found}


STUDY = Study(
    "vcae_proposition1",
    build,
    PROTOCOL,
    vary={"noise": [0.01, 0.05, 0.2]},
    loss=SquaredError(),
    measures={"jacobian": jacobian, "added": added, "posterior": posterior},
    paper=False,
    described={
        "noise": "Variance of the noise on codes in training. A list.",
        "weight": "Weight on the variance penalty.",
    },
)


def by_variance(run):
    """A record for each variance that was added, with what Eq. 5 predicts for it."""
    slopes = run["measures"]["jacobian"]
    parts = []
    for variance in ADDED:
        found = run["measures"]["added"]["by_variance"][f"{variance:g}"]
        eq5 = variance * slopes["jacobian"]
        bent = eq5 - variance * slopes["curvature"]
        values = {"found": found["error"], "eq5": eq5, "bent": bent}
        values |= {"of_eq5": found["error"] / eq5, "of_bent": found["error"] / bent}
        parts.append({**run, "config": {**run["config"], "added": variance}, **values})
    return parts


def eq5(runs):
    """What was added over Eq. 5, at the least variance and at that of training."""
    said, held = [], []
    for group in records.group(runs, ("noise",)):
        noise = group[0]["config"]["noise"]
        found = {}
        for run in group:
            if "added" in run["config"]:
                found.setdefault(run["config"]["added"], []).append(run["of_eq5"])
        if not found:
            return None
        ratios = [np.mean(found[variance]) for variance in (min(found), noise)]
        said.append(f"{ratios[0]:.3f} and {ratios[1]:.3f} trained at {noise:g}")
        held.append(abs(ratios[0] - 1) < HELD)
    text = (
        f"what was added over Eq. 5, at variance {ADDED[0]:g} and at that of training: "
    )
    return text + "; ".join(said), all(held)


def smooths(runs):
    """Whether more noise in training leaves a smaller Jacobian."""
    path, found = "measures.jacobian.jacobian", []
    for group in sorted(
        records.group(runs, ("noise",)), key=lambda group: group[0]["config"]["noise"]
    ):
        found.append((group[0]["config"]["noise"], mean_and_error(group, path)))
    if len(found) < 2:
        return None
    said = ", ".join(f"{value:.1f} at {noise:g}" for noise, (value, _) in found)
    pairs = zip(found[1:], found[:-1], strict=True)
    return said, all_of([differ(more[1], less[1]) for more, less in pairs])


def share(runs):
    """The squared Lipschitz value as a part of the squared Frobenius norm."""
    of = [mean(runs, f"measures.jacobian.{k}") for k in ("spectral", "jacobian")]
    return of[0] / of[1]


TABLES = [
    Table(
        STUDY,
        [
            Column("noise in training", "config.noise", "g"),
            Column("noise added", "config.added", "g"),
            Column("runs", len, "d"),
            Column("error without", "measures.added.alone"),
            Column("added by noise", plus_minus("found", ".4f")),
            Column("Eq. 5", plus_minus("eq5", ".4f")),
            Column("added / Eq. 5", plus_minus("of_eq5", ".3f")),
            Column("less the curvature", plus_minus("bent", ".4f")),
            Column("added / that", plus_minus("of_bent", ".3f")),
        ],
        title="Proposition 1 of Variance Constrained Autoencoding",
        name="proposition1",
        rows=("noise", "added"),
        split=by_variance,
        sort=lambda run: (run["config"]["noise"], run["config"]["added"]),
        note="Squared errors of up to 1,000 test images, summed over pixels; variances "
        "of noise in each dimension of the code. Eq. 5 is the variance times the "
        "squared Frobenius norm of the decoder's Jacobian J, a mean over codes without "
        "noise. The curvature, which the proof leaves out, is the error times the "
        "decoder's second derivatives, of central differences with a step of .05. ± is "
        f"the standard deviation over runs; {DRAWS} pairs of opposite noise an image.",
        claims=[
            Claim("noise adds its variance times the squared norm of J (Eq. 5)", eq5)
        ],
    ),
    Table(
        STUDY,
        [
            Column("noise in training", "config.noise", "g"),
            Column("runs", len, "d"),
            Column(
                "squared norm of J", plus_minus("measures.jacobian.jacobian", ".2f")
            ),
            Column(
                "its largest squared singular value",
                plus_minus("measures.jacobian.spectral", ".2f"),
            ),
            Column("share of that", share, ".3f"),
            Column("curvature", plus_minus("measures.jacobian.curvature", ".2f")),
            Column("error without noise", plus_minus("measures.added.alone")),
            Column("with the noise of training", plus_minus("test.bank.distortion")),
            Column("sum of Var(z)", "measures.posterior.summed_variance"),
        ],
        title="The decoder's Jacobian by the noise of training",
        name="jacobian",
        rows=("noise",),
        note="Of codes of test images without noise; the codes' variance is held, so "
        "that Jacobians compare.",
        claims=[Claim("noise regularises the decoder's Jacobian (Sec. 3)", smooths)],
    ),
]
main = Script(STUDY, TABLES)

if __name__ == "__main__":
    start(main)
