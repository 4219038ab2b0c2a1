"""Table 3 of The Variational InfoMax Autoencoder: accuracy on MNIST (Sec. 5.3).

    python reproductions/vimae/table3.py                       # digits
    python reproductions/vimae/table3.py --dataset mnist --data_dir FOLDER

Of an SVM on codes of 1,000 labelled images; test images are clean or corrupted.
"""

from vimae_paper import STUDY, accuracy_table, collapse_of_beta_a, withstand

from echo_keras.studies import Claim, Script, start

COLUMNS = ["clean", "gaussian 0.2", "gaussian 0.4", "mask 0.2", "mask 0.5"]
TABLE = accuracy_table(
    3,
    COLUMNS,
    claims=[
        withstand(*COLUMNS[1:]),
        Claim(
            "beta_A-VAE falls to 13 percent at noise .4 (Table 3)", collapse_of_beta_a
        ),
    ],
)
main = Script(STUDY, [TABLE])

if __name__ == "__main__":
    start(main)
