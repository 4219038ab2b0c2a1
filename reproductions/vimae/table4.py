"""Table 4 of The Variational InfoMax Autoencoder: accuracy on Omniglot (Sec. 5.3).

    python reproductions/vimae/table4.py                       # digits
    python reproductions/vimae/table4.py --dataset omniglot_alphabets --data_dir FOLDER

Of an SVM on codes of 60 images of each of five characters, clean or corrupted.
"""

from vimae_paper import STUDY, accuracy_table, withstand

from echo_keras.studies import Script, start

OF_CHARACTERS = (
    " Means over 20 random sets of five characters of alphabets that no model has seen "
    "(chance: 20). The paper has one set, and its rows have no names: they are taken "
    "to be those of its Table 3."
)
COLUMNS = ["clean", "gaussian 0.2", "gaussian 0.4", "mask 0.2", "mask 0.5"]
TABLE = accuracy_table(
    4,
    COLUMNS,
    lambda runs: OF_CHARACTERS * (runs[0]["config"]["dataset"] == "omniglot_alphabets"),
    claims=[withstand(*COLUMNS[1:])],
)
main = Script(STUDY, [TABLE])

if __name__ == "__main__":
    start(main)
