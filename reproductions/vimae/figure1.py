r"""Figure 1 of The Variational InfoMax Autoencoder: codes in the plane.

    python reproductions/vimae/figure1.py                       # digits
    python reproductions/vimae/figure1.py --dataset mnist --data_dir FOLDER

Five methods with three hidden layers of 256 units and codes of two dimensions (Sec.
5.1): where the codes of test images lie, and how far their law is from the method's
prior by MMD. The paper's beta, lambda and training here are taken to be those of MNIST
elsewhere in it.
"""

import dataclasses
import functools

from vimae_paper import METHODS, PROTOCOL, objective, posterior
from vimae_paper import STUDY as VIMAE

from echo_keras import metrics, networks, plots
from echo_keras.studies import Column, Script, Table, start


def build(config, dataset):
    shape = dataset.x_train.shape[1:]
    decoder = functools.partial(networks.dense_decoder, output_shape=shape)
    return objective(config, networks.dense_encoder(shape), decoder)


OTHERS = ("filters", "labelled", "compared")
STUDY = dataclasses.replace(
    VIMAE,
    name="vimae_figure1",
    build=build,
    protocol={k: PROTOCOL[k] for k in PROTOCOL if k not in OTHERS} | {"latent_dim": 2},
    quick={"digits": {"epochs": 40, "batch_size": 50}},
    measures={"posterior": posterior},
    prepare=None,
)
TABLE = Table(
    STUDY,
    [
        Column("Method", lambda runs: METHODS[runs[0]["config"]["method"]]),
        Column("MMD to its prior", "measures.posterior.mmd", ".4f"),
        Column("sum of Var(z)", "measures.posterior.summed_variance"),
        Column("excess kurtosis", "measures.posterior.excess_kurtosis"),
        Column("Test error", "test.bank.distortion"),
    ],
    title="Figure 1 of The Variational InfoMax Autoencoder",
    name="figure1",
    rows=("method",),
    note="Codes of test images, drawn from q(z|x); both priors have a summed variance "
    "of 2, and an excess kurtosis of 0 (normal) or 1.2 (logistic).",
)


def draw(results):
    """The codes of test images, a panel for each method."""
    dataset, panels = results.dataset, {}
    x, classes = dataset.x_test[:5000], dataset.y_test
    classes = None if classes is None else classes[:5000]
    runs = {run["config"]["method"]: run for run in results.runs}
    for config, model in results.models():
        mmd = runs[config["method"]]["measures"]["posterior"]["mmd"]
        title = f"{METHODS[config['method']]}\nMMD {mmd:.4f}"
        panels[title] = metrics.encode(model, x), classes
    if panels:
        plots.codes_in_plane(panels, results.path("figure1.png"))


main = Script(STUDY, [TABLE], draw)

if __name__ == "__main__":
    start(main)
