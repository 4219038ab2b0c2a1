r"""Table 3 of The Variational InfoMax Autoencoder: accuracy on MNIST.

    python reproductions/vimae/table3.py                       # digits
    python reproductions/vimae/table3.py --dataset mnist --data_dir FOLDER

Five methods (Sec. 5.3): the accuracy of an SVM on codes of 1,000 labelled images, when
test images are clean, have Gaussian noise on each pixel, or lack pixels. Each run
leaves one JSON record that holds what all tables of the paper need; a finished run is
never run twice and an interrupted one resumes.
"""

import vimae_paper
from absl import app

CORRUPTED = ["clean", "gaussian 0.2", "gaussian 0.4", "mask 0.2", "mask 0.5"]
# Accuracies in percent.
PAPER = {
    "mnist": {
        "vae": (80.0, 77.0, 70.0, 72.0, 52.0),
        "beta-h": (92.0, 86.0, 82.0, 91.0, 84.0),
        "beta-a": (93.0, 66.0, 13.0, 85.0, 65.0),
        "vimae-n": (93.0, 92.0, 86.0, 92.0, 86.0),
        "vimae-l": (93.0, 92.0, 88.0, 92.0, 87.0),
    }
}


TABLE = vimae_paper.accuracy_table(3, CORRUPTED, PAPER)


def main(argv):
    vimae_paper.main(argv, TABLE)


if __name__ == "__main__":
    app.run(main)
