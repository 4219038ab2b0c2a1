"""Table 1 of The Variational InfoMax Autoencoder: log-likelihood of images (Sec. 5.2).

    python reproductions/vimae/table1.py                       # digits
    python reproductions/vimae/table1.py --dataset omniglot_alphabets --data_dir FOLDER

Also draws Figures 2, 6 and 7: reconstructions, and images from the prior. The paper
does not say how its NLL was computed: here it is of a Parzen window on generated
images, whose bandwidth is chosen on half of the test images.
"""

from vimae_paper import METHODS, STUDY, lowest, of_paper, pixels, prior_codes, table

from echo_keras import metrics, plots
from echo_keras.studies import Claim, Column, Script, mean, spread, start

TABLE = table(
    "table1",
    [
        Column(
            "NLL, Parzen window",
            lambda runs: -mean(runs, "measures.parzen.log_likelihood_parzen"),
        ),
        Column(
            "sigma", lambda runs: spread(runs, "measures.parzen.log_likelihood_parzen")
        ),
        Column("se over images", "measures.parzen.log_likelihood_parzen_se"),
        Column("bandwidth", "measures.parzen.parzen_bandwidth", ".3f"),
        Column("Test error", "test.bank.distortion"),
        Column("code without noise", "measures.test_mean.error"),
        Column("MMD to the prior", "measures.posterior.mmd", ".4f"),
        Column("sum of Var(z)", "measures.posterior.summed_variance"),
        Column("excess kurtosis", "measures.posterior.excess_kurtosis"),
        Column("rate", "test.bank.rate"),
        Column("paper's NLL", of_paper(1), ".0f"),
    ],
    "NLL in nats per test image, lower is better: not a likelihood of the model but of "
    "a Gaussian kernel on images that it generated. Squared errors are summed over "
    "pixels: the likelihood of a Gaussian of variance 1/2. VIMAE has no rate.",
    claims=[
        Claim(
            "both VIMAE have the lowest NLL (Table 1)",
            lowest(
                "measures.parzen.log_likelihood_parzen",
                *("vimae-n", "vimae-l"),
                sign=-1,
                form=".1f",
            ),
        )
    ],
)


def draw(results):
    x = metrics.evenly_spaced(results.dataset.x_test, 12)
    reconstructed, generated = {"test images": x}, {}
    runs = {run["config"]["method"]: run for run in results.runs[::-1]}
    for config, model in results.models():
        # As the paper's captions have it: each with its error and its rate.
        test = runs[config["method"]]["test"]["bank"]
        name = f"{METHODS[config['method']]}\nerror {test['distortion']:.1f}"
        if "rate" in test:
            name += f", rate {test['rate']:.1f}"
        reconstructed[name] = pixels(model, metrics.encode(model, x, noisy=False))
        generated[name] = pixels(model, prior_codes(config, len(x)))
    if generated:
        plots.image_rows(reconstructed, results.path("reconstructions.png"))
        plots.image_rows(generated, results.path("generations.png"))


main = Script(STUDY, [TABLE], draw)

if __name__ == "__main__":
    start(main)
