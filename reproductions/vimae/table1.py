"""Table 1 of The Variational InfoMax Autoencoder: log-likelihood of images (Sec. 5.2).

    python reproductions/vimae/table1.py                       # digits
    python reproductions/vimae/table1.py --dataset omniglot_alphabets --data_dir FOLDER

Also draws Figures 2, 6 and 7: reconstructions, and images from the prior. The paper
does not say how its NLL was computed: here it is of a Parzen window on generated
images, whose bandwidth is chosen on half of the test images.
"""

from vimae_paper import (
    METHODS,
    STUDY,
    by_method,
    information_of,
    lowest,
    of_paper,
    pixels,
    prior_codes,
    table,
    with_information,
)

from echo_keras import metrics, plots
from echo_keras.studies import (
    Claim,
    Column,
    Script,
    all_of,
    differ,
    mean,
    spread,
    start,
)


def above_prior(runs):
    """Whether codes of the ELBO's models, but for beta_H, have more than the prior."""
    runs, path = with_information(runs), "measures.information"
    found = by_method(runs, f"{path}.entropy", f"{path}.entropy_se")
    prior = by_method(runs, f"{path}.prior_by_neighbours")
    if None in found.values():
        return None
    said = ", ".join(f"{METHODS[m]} {found[m][0] - prior[m][0]:+.2f}" for m in METHODS)
    ahead = [differ((prior[m][0], 0.0), found[m]) for m in ("vae", "beta-a")]
    return f"h(Z) less the prior's {said} nats", all_of(ahead)


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
        Column("runs with entropies", lambda runs: len(with_information(runs)), "d"),
        Column("h(Z)", information_of("entropy")),
        Column("of as many prior's codes", information_of("prior_by_neighbours")),
        Column("h(Z given X)", information_of("conditional")),
        Column("I(X; Z)", information_of("information")),
        Column("capacity", information_of("capacity")),
        Column("paper's NLL", of_paper(1), ".0f"),
    ],
    "NLL in nats per test image, lower is better: not a likelihood of the model but of "
    "a Gaussian kernel on images that it generated. Squared errors are summed over "
    "pixels: the likelihood of a Gaussian of variance 1/2. VIMAE has no rate. In nats: "
    "h(Z) by nearest neighbours among codes of test images, beside that of as "
    "many of the prior; h(Z given X) of the codes of one image, whose noise is the "
    "channel's, or of VIMAE what the noise on its input becomes; I(X; Z) is h(Z) less "
    "that, and the capacity the prior's exact entropy less that.",
    claims=[
        Claim(
            "both VIMAE have the lowest NLL (Table 1, of Omniglot)",
            lowest(
                "measures.parzen.log_likelihood_parzen",
                *("vimae-n", "vimae-l"),
                sign=-1,
                form=".1f",
            ),
        ),
        Claim(
            "codes of VAE and beta_A-VAE have far more entropy than their prior, which "
            "the penalty of VIMAE bounds (Sec. 5.1)",
            above_prior,
        ),
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
