r"""Table 2 of The Variational InfoMax Autoencoder: accuracy on CIFAR-10.

    python reproductions/vimae/table2.py                       # digits
    python reproductions/vimae/table2.py --dataset cifar10 --data_dir FOLDER

Five methods (Sec. 5.3): the accuracy of an SVM on codes of 1,000 labelled images, when
test images are clean, have Gaussian noise on each pixel, or lack pixels.
"""

from vimae_paper import STUDY, accuracy_table

from echo_keras.studies import Script, start

CORRUPTED = ["clean", "gaussian 0.3", "mask 0.2"]
TABLE = accuracy_table(2, CORRUPTED)
main = Script(STUDY, [TABLE])

if __name__ == "__main__":
    start(main)
