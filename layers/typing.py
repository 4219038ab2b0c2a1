"""Names for annotations: what layers take and return."""

from collections.abc import Sequence
from typing import Any

# A tensor of the backend, a symbolic `keras.KerasTensor`, or a NumPy array.
Tensor = Any
# One tensor, or a list of them where a layer has several inputs.
Tensors = Any
# The first axis is the batch; None where a size is not known.
Shape = Sequence[int | None]
