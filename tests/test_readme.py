"""README's example does what README says, and its commands name what is there."""

import re

import keras
import numpy as np
import pytest


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the default")
def test_the_example_prints_what_stands_below_it(repository, capsys, request):
    text = (repository / "README.md").read_text()
    code, said = re.search(
        r"<!-- example -->\n```python\n(.*?)```\n\n```\n(.*?)```", text, re.S
    ).groups()
    request.addfinalizer(lambda: keras.utils.set_random_seed(0))
    exec(compile(code, "README.md", "exec"), {"__name__": "__main__"})
    printed = capsys.readouterr().out
    found, promised = (
        dict(re.findall(r"'(\w+)': ([\d.]+)", line)) for line in (printed, said)
    )
    assert found.keys() == promised.keys() == {"distortion", "loss", "neg_elbo", "rate"}
    for name, value in promised.items():
        # Other machines round otherwise; another seed differs by a nat or two.
        assert float(found[name]) == pytest.approx(float(value), abs=3.0)
    below = re.search(r"carries ([\d.]+), and ([\d.]+) more", text).groups()
    assert below == (promised["rate"], promised["distortion"])
    assert np.isclose(sum(map(float, below)), float(promised["neg_elbo"]), atol=0.11)


def test_links_of_the_readme_lead_somewhere(repository):
    links = re.findall(r"\]\(([^)#]+)", (repository / "README.md").read_text())
    assert len(links) > 20
    for link in links:
        assert link.startswith("https://") or (repository / link).exists(), link


def test_the_readme_fits_two_screens(repository):
    assert len((repository / "README.md").read_text().splitlines()) <= 150
