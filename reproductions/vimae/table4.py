r"""Table 4 of The Variational InfoMax Autoencoder: accuracy on Omniglot.

    python reproductions/vimae/table4.py                       # digits
    python reproductions/vimae/table4.py --dataset omniglot_alphabets --data_dir FOLDER

Five methods (Sec. 5.3): the accuracy of an SVM on codes of 60 images of each of five
characters, when test images are clean, have Gaussian noise on each pixel, or lack
pixels. Each run leaves one JSON record that holds what all tables of the paper need; a
finished run is never run twice and an interrupted one resumes.
"""

import vimae_paper
from absl import app

CORRUPTED = ["clean", "gaussian 0.2", "gaussian 0.4", "mask 0.2", "mask 0.5"]
# Accuracies in percent.
PAPER = {
    "omniglot_alphabets": {
        "vae": (22.0, 22.0, 17.0, 22.0, 16.0),
        "beta-h": (21.0, 21.0, 22.0, 19.0, 17.0),
        "beta-a": (22.0, 22.0, 21.0, 21.0, 24.0),
        "vimae-n": (22.0, 23.0, 24.0, 22.0, 22.0),
        "vimae-l": (24.0, 23.0, 20.0, 23.0, 22.0),
    }
}


TABLE = vimae_paper.accuracy_table(
    4,
    CORRUPTED,
    PAPER,
    note=" Means over 20 random sets of five characters of alphabets that no model has "
    "seen (chance: 20). The paper has one set, and its rows have no names: they are "
    "taken to be those of its Table 3.",
)


def main(argv):
    vimae_paper.main(argv, TABLE)


if __name__ == "__main__":
    app.run(main)
