"""Random damage in headers, checksums repaired: never more than a sentence.

In a process of its own: what a damaged file does to it, it does not do to the tests.
`python tests/damage.py mat,npz,gz,h5,codes 0 300` is the longer version.
"""

import json
import pathlib
import subprocess
import sys

KINDS = ("mat", "npz", "gz", "h5", "codes")


def test_a_damaged_file_ends_in_a_sentence_or_is_read():
    result = subprocess.run(
        [
            sys.executable,
            str(pathlib.Path(__file__).with_name("damage.py")),
            ",".join(KINDS),
            *("0", "40"),
        ],
        capture_output=True,
        text=True,
        timeout=300,
    )
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.returncode == 0, (lines[-1:], result.stderr[-2000:])
    ends = [(kind, end) for kind, _, end, _ in lines if end != "began"]
    assert len(ends) == 40 * len(KINDS)
    assert set(end for _, end in ends) == {"accepted", "sentence"}
    # Most of the damage is noticed, in files of each kind.
    for kind in KINDS:
        assert ends.count((kind, "sentence")) > 20
    peaks = [megabytes for *_, megabytes in lines]
    assert peaks[-1] - peaks[0] < 200
