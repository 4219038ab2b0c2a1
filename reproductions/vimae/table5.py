"""Table 5 of The Variational InfoMax Autoencoder: Frechet distance of images (App.).

    python reproductions/vimae/table5.py                       # digits
    python reproductions/vimae/table5.py --dataset cifar10 --data_dir FOLDER
    python reproductions/vimae/table5.py --dataset celeba --data_dir FOLDER

Of 10,000 images from the prior and as many test images, in the features of a classifier
trained on the data set, or of InceptionV3 where there are no labels. Distances of
different networks do not compare: the paper's are of Inception.
"""

from vimae_paper import STUDY, lowest, of_paper, table

from echo_keras.studies import Claim, Column, Script, spread, start

TABLE = table(
    "table5",
    [
        Column("Features", "measures.fid.features"),
        Column("Fréchet distance", "measures.fid.prior"),
        Column("sigma", lambda runs: spread(runs, "measures.fid.prior")),
        Column("images", "measures.fid.images", ",.0f"),
        Column("Test error", "test.bank.distortion"),
        Column("paper's FID (Inception)", of_paper(5), ".0f"),
    ],
    "Lower is better. Test error: squared, summed over pixels. Each method draws from "
    "its own prior.",
    claims=[
        Claim(
            "both VIMAE have the lowest distance (Table 5, of CelebA)",
            lowest("measures.fid.prior", "vimae-n", "vimae-l", form=".1f"),
        )
    ],
)
main = Script(STUDY, [TABLE])

if __name__ == "__main__":
    start(main)
