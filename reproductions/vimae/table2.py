"""Table 2 of The Variational InfoMax Autoencoder: accuracy on CIFAR-10 (Sec. 5.3).

    python reproductions/vimae/table2.py                       # digits
    python reproductions/vimae/table2.py --dataset cifar10 --data_dir FOLDER

Of an SVM on codes of 1,000 labelled images; test images are clean or corrupted.
"""

from vimae_paper import STUDY, accuracy_table, withstand

from echo_keras.studies import Script, start

COLUMNS = ["clean", "gaussian 0.3", "mask 0.2"]
TABLE = accuracy_table(2, COLUMNS, claims=[withstand(*COLUMNS[1:])])
main = Script(STUDY, [TABLE])

if __name__ == "__main__":
    start(main)
