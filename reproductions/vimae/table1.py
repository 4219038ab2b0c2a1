r"""Table 1 of The Variational InfoMax Autoencoder: log-likelihood of images.

    python reproductions/vimae/table1.py                       # digits
    python reproductions/vimae/table1.py --dataset omniglot_alphabets --data_dir FOLDER

Five methods (Sec. 5.2): the negative log-likelihood of test images under a Parzen
window on generated ones, and Figures 2, 6 and 7: test images, their reconstructions,
and images from the prior. The paper does not say how its NLL was computed. A Parzen
window is what its kind of paper uses; its bandwidth is chosen on half of the test
images.
"""

from vimae_paper import METHODS, PUBLISHED, STUDY, pixels, prior_images, table

from echo_keras import metrics, plots
from echo_keras.studies import Column, Script, mean, published, start
from echo_keras.studies.study import Run

PARZEN = "measures.parzen.log_likelihood_parzen"
TABLE = table(
    1,
    [
        Column("NLL, Parzen window", lambda runs: -mean(runs, PARZEN)),
        Column("se", f"{PARZEN}_se"),
        Column("bandwidth", "measures.parzen.parzen_bandwidth", ".3f"),
        Column("Test error", "test.bank.distortion"),
        Column("code without noise", "measures.test_mean.error"),
        Column("MMD to the prior", "measures.posterior.mmd", ".4f"),
        Column("sum of Var(z)", "measures.posterior.summed_variance"),
        Column(
            "paper's NLL",
            published(PUBLISHED["table1"], "dataset", "method", column=0),
            ".0f",
        ),
    ],
    "NLL in nats per test image, lower is better: not a likelihood of the model but of "
    "a Gaussian kernel on images that it generated. Squared errors are summed over "
    "pixels.",
)


def draw(results):
    """Reconstructions and generated images, a row for each method."""
    dataset = results.dataset
    x = metrics.evenly_spaced(dataset.x_test, 12)
    reconstructed, generated = {"test images": x}, {}
    for config, model in results.models():
        name, folder = METHODS[config["method"]], STUDY.folder(results.out, config)
        codes = metrics.encode(model, x, noisy=False)
        reconstructed[name] = pixels(model, codes)
        run = Run(STUDY, config, model, dataset, folder, results.out)
        generated[name] = prior_images(run, len(x))
    if generated:
        plots.image_rows(reconstructed, results.path("reconstructions.png"))
        plots.image_rows(generated, results.path("generations.png"))


main = Script(STUDY, [TABLE], draw)

if __name__ == "__main__":
    start(main)
