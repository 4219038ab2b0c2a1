r"""Table 2 of The Variational InfoMax Autoencoder: accuracy on CIFAR-10.

    python reproductions/vimae/table2.py                       # digits
    python reproductions/vimae/table2.py --dataset cifar10 --data_dir FOLDER

Five methods (Sec. 5.3): the accuracy of an SVM on codes of 1,000 labelled images, when
test images are clean, have Gaussian noise on each pixel, or lack pixels. Each run
leaves one JSON record that holds what all tables of the paper need; a finished run is
never run twice and an interrupted one resumes.
"""

import vimae_paper
from absl import app

CORRUPTED = ["clean", "gaussian 0.3", "mask 0.2"]
# Accuracies in percent.
PAPER = {
    "cifar10": {
        "vae": (30.0, 25.0, 16.0),
        "beta-h": (29.0, 26.0, 19.0),
        "beta-a": (31.0, 31.0, 18.0),
        "vimae-n": (29.0, 28.0, 23.0),
        "vimae-l": (32.0, 34.0, 23.0),
    }
}


TABLE = vimae_paper.accuracy_table(2, CORRUPTED, PAPER)


def main(argv):
    vimae_paper.main(argv, TABLE)


if __name__ == "__main__":
    app.run(main)
