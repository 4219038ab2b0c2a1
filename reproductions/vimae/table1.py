r"""Table 1 of The Variational InfoMax Autoencoder: log-likelihood of images.

    python reproductions/vimae/table1.py                       # digits
    python reproductions/vimae/table1.py --dataset omniglot_alphabets --data_dir FOLDER

Five methods (Sec. 5.2); then, beside the paper's numbers, the negative log-likelihood
of test images under a Parzen window on generated ones, and Figures 2, 6 and 7: test
images, their reconstructions, and images from the prior. Each run leaves one JSON
record that holds what all tables of the paper need; a finished run is never run twice
and an interrupted one resumes.

The paper does not say how its NLL was computed. A Parzen window is what its kind of
paper uses; its bandwidth is chosen on half of the test images.
"""

import vimae_paper
from absl import app

from echo_keras import image_experiments, metrics, plots, wae_experiments
from echo_keras.experiments import number

PAPER = {
    "omniglot_alphabets": {
        "vae": (1224.0,),
        "beta-h": (1254.0,),
        "beta-a": (1228.0,),
        "vimae-n": (1190.0,),
        "vimae-l": (1223.0,),
    }
}


def main(argv):
    out, dataset, configs = vimae_paper.main(argv, TABLE)
    draw(out, dataset, configs)


def cells(run):
    parzen = run["parzen"]
    return [
        number(-parzen["log_likelihood_parzen"]),
        number(parzen["log_likelihood_parzen_se"]),
        number(parzen["parzen_bandwidth"], ".3f"),
        number(run["test"]["bank"]["distortion"]),
        number(run["test_mean"]["error"]),
        number(run["posterior"]["mmd"], ".4f"),
        number(run["posterior"]["summed_variance"]),
        number(*vimae_paper.theirs(run, PAPER), ".0f"),
    ]


TABLE = vimae_paper.Table(
    number=1,
    header=["NLL, Parzen window", "se", "bandwidth", "Test error"]
    + ["code without noise", "MMD to the prior", "sum of Var(z)", "paper's NLL"],
    cells=cells,
    note="NLL in nats per test image, lower is better: not a likelihood of the model "
    "but of a Gaussian kernel on images that it generated. Squared errors are summed "
    "over pixels.",
)


def draw(out, dataset, configs):
    """Figures 2 to 7: reconstructions and generated images, a row for each method."""
    x = image_experiments.twelve(dataset)
    reconstructed, generated = {"test images": x}, {}
    for config in configs:
        model = vimae_paper.load_model(out, config)
        if model is None:
            continue
        name = f"{vimae_paper.METHODS[config['method']]}, seed {config['seed']}"
        decoder = model.get_layer("decoder")
        codes = metrics.encode(model, x, noisy=False)
        reconstructed[name] = wae_experiments.pixels(decoder, codes)
        codes = vimae_paper.prior_codes(config, len(x))
        generated[name] = wae_experiments.pixels(decoder, codes)
    if generated:
        plots.image_rows(reconstructed, out / f"{dataset.name}-reconstructions.png")
        plots.image_rows(generated, out / f"{dataset.name}-generations.png")


if __name__ == "__main__":
    app.run(main)
