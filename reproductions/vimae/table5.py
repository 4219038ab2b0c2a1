r"""Table 5 of The Variational InfoMax Autoencoder: Fréchet distance of images.

    python reproductions/vimae/table5.py                       # digits
    python reproductions/vimae/table5.py --dataset cifar10 --data_dir FOLDER
    python reproductions/vimae/table5.py --dataset celeba --data_dir FOLDER

Five methods (App.): the Fréchet distance of 10,000 images from the prior and as many
test images, in the features of a classifier trained on the data set, or of InceptionV3
where there are no labels. Each run leaves one JSON record that holds what all tables of
the paper need; a finished run is never run twice and an interrupted one resumes.
Distances of different networks do not compare: the paper's are of Inception.
"""

import vimae_paper
from absl import app

from echo_keras.experiments import number

PAPER = {
    "celeba": {
        "vae": (82.0,),
        "beta-h": (None,),  # did not converge
        "beta-a": (89.0,),
        "vimae-l": (56.0,),
        "vimae-n": (55.0,),
    },
    "cifar10": {
        "vae": (168.0,),
        "beta-h": (262.0,),
        "beta-a": (174.0,),
        "vimae-l": (103.0,),
        "vimae-n": (104.0,),
    },
}


def main(argv):
    vimae_paper.main(argv, TABLE)


def cells(run):
    fid = run["fid"]
    return [
        fid["features"],
        number(fid["prior"]),
        f"{fid['images']:,}",
        number(run["test"]["bank"]["distortion"]),
        number(*vimae_paper.theirs(run, PAPER), ".0f"),
    ]


TABLE = vimae_paper.Table(
    number=5,
    header=["Features", "Fréchet distance", "images", "Test error"]
    + ["paper's FID (Inception)"],
    cells=cells,
    note="Lower is better. Test error: squared, summed over pixels.",
)


if __name__ == "__main__":
    app.run(main)
