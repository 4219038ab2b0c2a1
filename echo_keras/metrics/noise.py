"""What a small noise on the code costs: the decoder's Jacobian, and its curvature."""

import keras
import numpy as np
from keras import ops

from echo_keras.layers import arguments

from .._graph import decoder_of
from .batching import default_batch_size, map_batches, with_standard_error
from .codes import encode, law


def noise_sensitivity(
    model: keras.Model,
    x: np.ndarray,
    step: float = 0.05,
    batch_size: int | None = None,
) -> dict[str, float]:
    r"""The squared error that each unit of variance of noise on a code adds.

    With noise of variance s^2 in each dimension of the code z = f(x), and images d(z),

    `E |x - d(z + e)|^2 = |x - d(z)|^2 + s^2 (jacobian - curvature) + O(s^4)`,

    where `jacobian` is \(\|J\|_F^2\) of the decoder at z, and `curvature` is
    (x - d(z)) times the decoder's second derivatives, summed over the code's
    dimensions: 0 for a linear decoder, an exact reconstruction, or errors that have
    nothing to do with how the decoder bends. Proposition 1 of Variance Constrained
    Autoencoding has the Jacobian alone.

    Derivatives are central differences, two images for each dimension: they run alike
    on all backends, and are exact for a linear decoder. Of a network with ReLU they
    see the kinks within a step. Of a decoder in half precision, as under
    mixed_bfloat16, they see its rounding, by which all three may differ from those in
    float32 by far more than the standard errors: give its weights to a model in float32
    first, `copy.set_weights(model.get_weights())`.

    Args:
        model: Autoencoder with one bottleneck, compiled with a loss of
            `echo_keras.losses`; images are the means of p(x|z).
        x: Images, (n, ...).
        step: Float > 0, of the differences, in units of the code. About the standard
            deviation of the noise in question; rounding grows as 1 / step.
        batch_size: Int >= 1, see `map_batches`.

    Returns:
        A dict of means over images, in squared units of x for one of the code, each
        with its standard error under `<name>_se`: `jacobian`; `spectral`, the largest
        squared singular value of J, which is at most `jacobian`; and `curvature`.

    Raises:
        ValueError: as `encode` and `images`, the decoder makes images of another shape,
            or the step is not positive.

    Example:

    >>> from echo_keras import losses, objectives
    >>> model = objectives.vcae(encoder, decoder, 2, noise_variance=0.1)
    >>> model.compile(loss=losses.SquaredError())
    >>> found = noise_sensitivity(model, np.ones((5, 8)))
    >>> found["spectral"] <= found["jacobian"]
    True

    References:
        Variance Constrained Autoencoding, Eq. 5 and App. A.1.
    """
    step = arguments.number("step", step, above=0)
    x = arguments.array("x", x)
    mean, z = law(model).mean, encode(model, x, noisy=False, batch_size=batch_size)
    decoder, d = decoder_of(model), z.shape[1]

    def images(codes):
        decoded = ops.convert_to_numpy(mean(decoder(codes, training=False)))
        if decoded.shape[1:] != x.shape[1:]:
            raise ValueError(
                f"x must have the shape of what the decoder makes, {decoded.shape[1:]} "
                f"for each example. Received: shape {x.shape}"
            )
        return decoded.reshape(len(decoded), -1).astype("float64")

    def of(batch):
        codes, centre = batch["z"], images(batch["z"])
        errors = batch["x"].reshape(len(codes), -1) - centre
        columns, bend = [], 0.0
        for shift in step * np.eye(d, dtype="float32"):
            ahead, behind = images(codes + shift), images(codes - shift)
            columns.append((ahead - behind) / (2 * step))
            bend = bend + (ahead - 2 * centre + behind) / step**2
        jacobian = np.stack(columns, axis=-1)
        squares = np.linalg.eigvalsh(np.swapaxes(jacobian, 1, 2) @ jacobian)
        return {
            "jacobian": squares.sum(axis=1),
            "spectral": squares[:, -1],
            "curvature": np.sum(errors * bend, axis=1),
        }

    if batch_size is None:  # a batch's Jacobian is d times as large as its images
        batch_size = max(default_batch_size(x) // d, 1)
    found = map_batches(of, {"x": x, "z": z}, batch_size)
    return {
        key: value
        for name, values in found.items()
        for key, value in with_standard_error(name, values).items()
    }
