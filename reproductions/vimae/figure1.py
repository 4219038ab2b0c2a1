"""Figure 1 of The Variational InfoMax Autoencoder: codes in the plane (Sec. 5.1).

    python reproductions/vimae/figure1.py                       # digits
    python reproductions/vimae/figure1.py --dataset mnist --data_dir FOLDER

Dense networks with codes of two dimensions: where those of test images lie, and how far
their law is from the method's prior by MMD. The paper's beta, lambda and training here
are taken to be those of MNIST elsewhere in it.
"""

from vimae_paper import (
    CHOICES,
    DENSE,
    DESCRIBED,
    METHODS,
    configure,
    lowest,
    objective,
    optimizer,
    posterior,
    pretrained,
    table,
)

from echo_keras import metrics, networks, plots
from echo_keras.losses import SquaredError
from echo_keras.studies import Claim, Column, Script, Study, start


def build(config, dataset):
    shape = dataset.x_train.shape[1:]
    encoder = networks.dense_encoder(shape)
    model = objective(config, encoder, lambda n: networks.dense_decoder(n, shape))
    return pretrained(model, config, dataset)


STUDY = Study(
    "vimae_figure1",
    build,
    {**DENSE, "latent_dim": 2},
    quick={"digits": {"epochs": 40, "batch_size": 50}},
    vary={"method": list(METHODS)},
    loss=SquaredError(),
    optimizer=optimizer,
    measures={"posterior": posterior},
    described=DESCRIBED,
    choices=CHOICES,
    configure=configure,
)
MMD = Column("MMD to its prior", "measures.posterior.mmd", ".4f")
TABLE = table(
    "figure1",
    [
        MMD,
        Column("sum of Var(z)", "measures.posterior.summed_variance"),
        Column("excess kurtosis", "measures.posterior.excess_kurtosis"),
        Column("Test error", "test.bank.distortion"),
    ],
    "Codes of test images, drawn from q(z|x); both priors have a summed variance "
    "of 2, and an excess kurtosis of 0 (normal) or 1.2 (logistic). MMD over all codes "
    "at once.",
    STUDY,
    claims=[
        Claim(
            "VIMAE's codes lie closer to their prior than those of the ELBO's models, "
            "but for beta_H-VAE (Sec. 5.1, Fig. 1)",
            lowest(
                "measures.posterior.mmd",
                *("vimae-n", "vimae-l"),
                but=["beta-h"],
                form=".4f",
            ),
        )
    ],
)


def draw(results):
    dataset = results.dataset
    x, classes = metrics.evenly_spaced(dataset.x_test, 5000), dataset.y_test
    classes = None if classes is None else metrics.evenly_spaced(classes, 5000)
    mmd = {run["config"]["method"]: MMD.text([run]) for run in results.runs}
    panels = {
        f"{METHODS[config['method']]}\nMMD {mmd[config['method']]}": (
            metrics.encode(model, x, batch_size=500),
            classes,
        )
        for config, model in results.models()
    }
    if panels:
        plots.codes_in_plane(panels, results.path("figure1.png"))


main = Script(STUDY, [TABLE], draw, without=["runs"])

if __name__ == "__main__":
    start(main)
