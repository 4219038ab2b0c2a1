"""Calls of all that is public with arguments that it was not made for.

`python tests/fuzzing.py 5000` makes that many calls and prints how they end.
"""

import collections
import contextlib
import functools
import importlib
import inspect
import io
import math
import os
import pathlib
import signal
import sys
import tempfile
import traceback
import types
import warnings

import keras
import numpy as np
from keras import ops

from echo_keras import layers, losses, metrics, networks, objectives, studies

SECONDS = 60  # a call that takes longer hangs
FINE = ("result", "sentence", "Keras's sentence")

# What comes in the place of an argument. Names, for functions and arrays have none.
SCALARS = {
    "None": None,
    "-1": -1,
    "0": 0,
    "1": 1,
    "1.5": 1.5,
    "nan": math.nan,
    "inf": math.inf,
    "-inf": -math.inf,
    "1e30": 1e30,
    "10**30": 10**30,
    "'abc'": "abc",
    "'3'": "3",
    "'False'": "False",
    "True": True,
    "float32(2)": np.float32(2),
    "int64(2)": np.int64(2),
    "bool_(True)": np.bool_(True),
    "[]": [],
    "[nan]": [math.nan],
    "['a']": ["a"],
    "{}": {},
    "object": object(),
    "array": np.ones(3, "float32"),
}
ARRAYS = {
    "empty": lambda x: x[:0],
    "one row": lambda x: x[:1],
    "of more axes": lambda x: x[..., None],
    "of fewer axes": lambda x: x[0],
    "narrow": lambda x: x[..., :-1],
    "float64": lambda x: x.astype("float64"),
    "whole numbers": lambda x: np.round(9 * x).astype("int64"),
    "uint8": lambda x: np.clip(255 * x, 0, 255).astype("uint8"),
    "bool": lambda x: x > 0.5,
    "a NaN": lambda x: _with(x, math.nan),
    "an inf": lambda x: _with(x, math.inf),
    "all NaN": lambda x: np.full(x.shape, math.nan),
    "below 0": lambda x: -1 - x,
    "above 1": lambda x: 7 + x,
    "huge": lambda x: 1e30 * (x + 1.0),
    "constant": lambda x: np.full_like(x, x.flat[0] if x.size else 0),
    "texts": lambda x: x.astype(str),
    "objects": lambda x: x.astype(object),
    "complex": lambda x: x + 1j,
    "a list": lambda x: x.tolist(),
}
# What a tensor can hold: the rest no layer of Keras takes.
LEFT = ("texts", "objects", "complex")
NUMBERS = {k: v for k, v in ARRAYS.items() if k not in LEFT}


def _with(x, value):
    x = np.array(x, "float32")
    x.flat[0] = value
    return x


def uniform(*shape):
    return np.random.RandomState(0).random_sample(shape).astype("float32")


@functools.cache
def model(kind):
    """A small compiled model, trained for one step, so that banks are full."""
    encoder = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
    decoder = functools.partial(
        networks.dense_decoder, output_shape=(8,), hidden=(4,), name="decoder"
    )
    loss = losses.Bernoulli()
    if kind == "echo":
        found = objectives.echo(encoder, decoder, 2, d_max=3, bank_size=8)
    elif kind == "vq":
        found = objectives.shannon_ae(encoder, decoder, 2, 4, groups=2)
    elif kind == "classifier":
        channel = layers.GaussianBottleneck(2, name="bottleneck")
        found = objectives.information_bottleneck(encoder, channel, 3)
        loss = losses.CategoricalNLL()
    elif kind == "images":
        flat = keras.Sequential(
            [keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(4)]
        )
        decoder = networks.dense_decoder(2, (4, 4, 1), (4,))
        found = objectives.vae(flat, decoder, 2)
    elif kind == "network":
        found = keras.Sequential(
            [
                keras.Input((8,)),
                keras.layers.Dense(4, name="first"),
                keras.layers.Dense(8),
            ]
        )
    else:
        found = objectives.vae(encoder, decoder, 2)
        loss = losses.SquaredError() if kind == "squared" else loss
    found.compile("sgd", loss)
    x = IMAGES if kind == "images" else X
    found.train_on_batch(x, LABELS if kind == "classifier" else x)
    return found


X, IMAGES, CODES = uniform(12, 8), uniform(12, 4, 4, 1), uniform(60, 2)
LABELS = np.arange(12) % 3
CURVES = {"echo": [(1.0, 3.0), (2.0, 1.0)]}


def represent(images):
    return np.asarray(images, "float64")[:, :2] + 0.1


def folder():
    return pathlib.Path(tempfile.mkdtemp(prefix="fuzz"))


def build():
    return model.__wrapped__("vae")


def build_of(beta):
    found = build()
    found.get_layer("bottleneck").channel.initial_beta = float(beta)
    return found


# Valid values of arguments without a default, by name: the function's own come first.
# What is called gives a new value to each call.
VALID = {
    "units": 2,
    "filters": 3,
    "kernel_size": 3,
    "codewords": 4,
    "count": 3,
    "rate": 2.0,
    "steps": 5,
    "flows": lambda: [layers.Coupling((4,)), layers.Permutation()],
    "flow": lambda: layers.Coupling((4,)),
    "layer": lambda: keras.layers.Dense(3),
    "input_degrees": [1, 2, 3],
    "output_degrees": [0, 2],
    "d_max": 9,
    "encoder": lambda: keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)]),
    "decoder": lambda: functools.partial(networks.dense_decoder, output_shape=(8,)),
    "latent_dim": 2,
    "output_shape": (8,),
    "input_shape": (8,),
    "image_shape": (28, 28, 1),
    "bottleneck": lambda: layers.GaussianBottleneck(2),
    "classes": 3,
    "model": lambda: model("vae"),
    "x": X,
    "y": LABELS,
    "codes": CODES,
    "z": CODES,
    "n": 3,
    "dataset": metrics.FactorGrid(2, 3),
    "represent": lambda: represent,
    "logits": uniform(12, 3),
    "a": uniform(60, 2),
    "b": uniform(60, 2) + 0.5,
    "mean_a": uniform(2),
    "cov_a": np.eye(2),
    "mean_b": uniform(2),
    "cov_b": np.eye(2),
    "distortion": 3.0,
    "entropy": 5.0,
    "samples": CODES,
    "noise": CODES,
    "scales": uniform(5, 2) + 0.1,
    "novel": uniform(9),
    "known": uniform(9),
    "learning_rate": 1e-3,
    "epochs": 2,
    "steps_per_epoch": 3,
    "batch_size": 4,
    "seed": 0,
    "directory": folder,
    "path": lambda: folder() / "file",
    "history": list,
    "optimizer": lambda: keras.optimizers.Adam(),
    "build": lambda: build,
    "name": "digits",
    "indices": np.ones((5, 2), "int64"),
    "probabilities": np.full((2, 4), 0.25),
    "quantizer": lambda: model("vq").get_layer("bottleneck").channel,
    "marginal": lambda: model("vae").get_layer("bottleneck").channel.marginal,
    "curves": CURVES,
    "features": lambda: lambda x: np.reshape(x, (len(x), -1))[:, :3],
    "real": IMAGES,
    "generated": IMAGES[::-1],
    "images": IMAGES,
    "kind": "noise",
    "amount": 0.5,
    "means": [[0.0, 1.0], [2.0, 0.0]],
}
OWN = {
    "BetaSchedule": {"start": 0.1},
    "GaussianSample": {},
    "TargetDistortion": {"loss": lambda: losses.SquaredError()},
    "MaskedDense": {},
    "conv_encoder": {"input_shape": (28, 28, 1)},
    "wae_decoder": {"output_shape": (8, 8, 1), "filters": 2},
    "wae_encoder": {"input_shape": (8, 8, 1), "filters": 2},
    "dense_discriminator": {"hidden": (4,)},
    "conv_discriminator": {"filters": (4,)},
    "gan": {
        "decoder": lambda: networks.wae_decoder(2, (8, 8, 1), 2),
        "image_shape": (8, 8, 1),
        "discriminator": lambda: layers.conv_discriminator((4,)),
    },
    **dict.fromkeys(
        ("generative_compression", "vae_gan", "bib_ae"),
        {"discriminator": lambda: layers.dense_discriminator((4,))},
    ),
    "pareto_front": {"rate": [1.0, 2.0], "distortion": [3.0, 1.0]},
    "convex_front": {"rate": [1.0, 2.0], "distortion": [3.0, 1.0]},
    "entropy_bound": {"rate": [1.0, 2.0], "distortion": [3.0, 1.0]},
    "area_under_front": {
        "rate": [1.0, 2.0],
        "distortion": [3.0, 1.0],
        "low": 1.0,
        "high": 2.0,
    },
    "corrupt": {"x": IMAGES},
    "classifier_features": {"x": uniform(12, 8, 8, 1), "name": "small", "epochs": 1},
    "information_plane": {"model": lambda: model("classifier")},
    "plots.information_plane": {"curves": {"vae": [(1.0, 2.0, 0.5), (2.0, 1.0, 0.4)]}},
    "decode": {"decoder": lambda: model("vae").get_layer("decoder")},
    "images": {"codes": CODES[:12]},
    "evaluate": {},
    "disentanglement.evaluate": {"metrics": ("mig",)},
    "factor_vae_score": {"votes": 5, "test_votes": 3, "vote_size": 4, "points": 40},
    "dci": {"points": 40, "test_points": 20},
    "sap": {"points": 40, "test_points": 20},
    "mig": {"points": 40},
    "modularity": {"points": 40},
    "divergence": {"folds": 2},
    "combined_score": {
        "scores": {"distortion": uniform(5)},
        "reference": {"distortion": uniform(7)},
    },
    "mahalanobis_score": {
        "scores": {"distortion": uniform(5)},
        "reference": {"distortion": uniform(7)},
    },
    "learned_score": {
        "scores": {"distortion": uniform(5)},
        "reference": {"distortion": uniform(7)},
        "novel": {"distortion": uniform(6) + 1},
    },
    "manifold_score": {"reference": X},
    "roc_areas": {"novel": lambda: {"new": X[:6]}, "known": X[6:], "reference": X},
    "generative_information": {"samples": 2},
    "importance_weighted": {"samples": 2},
    "per_example_likelihood": {"samples": 2},
    "aggregate_posterior": {},
    "predictive": {"logits": uniform(2, 12, 3)},
    "map_batches": {"function": lambda: lambda x: x},
    "inception_features": {"input_shape": (75, 75, 3), "weights": None},
    "nearest_neighbours": {"images": IMAGES, "others": IMAGES, "n": 1},
    "parzen_log_likelihood": {"samples": IMAGES, "x": IMAGES, "bandwidth": 0.2},
    "svm_accuracy": {
        "represent": lambda: lambda x: np.reshape(x, (len(x), -1)),
        "x_train": IMAGES,
        "y_train": LABELS,
        "x_test": IMAGES,
        "y_test": LABELS,
    },
    "fid_name": {"features": lambda: represent},
    "stratified_subset": {"n": 6},
    "match_gaussian": {},
    "best_epoch": {"history": [{"loss": 2.0}, {"loss": 1.0}], "log": "loss"},
    "pretrain_encoder": {
        "model": lambda: model("dense"),
        "batch_size": 4,
        "optimizer": lambda: keras.optimizers.SGD(),
        "tolerance": 1e9,
    },
    "train": {"epochs": 1, "verbose": 0},
    "fit_latent_flow": {
        "epochs": 1,
        "flow": lambda: layers.Coupling((4,)),
        "batch_size": 30,
    },
    "maf_chain": {"steps": 2, "hidden": (4,)},
    "real_nvp_chain": {"steps": 2, "hidden": (4,)},
    "NoisyBatches": {"codes": CODES},
    "codec.split": {"model": lambda: model("vq")},
    "codec.encode": {"model": lambda: model("vq")},
    "compress": {"model": lambda: model("vq")},
    "header_bytes": {"rank": 1},
    "codes_in_plane": {"panels": {"vae": (CODES, None)}},
    "code_histograms": {"panels": {"vae": CODES}},
    "codes_by_factor": {
        "codes": CODES,
        "factors": np.arange(180).reshape(60, 3) % 3,
        "names": ["shape", "pos_x", "pos_y"],
    },
    "clouds": {"rows": {"a": {"b": CODES}}},
    "marginal_densities": {"panels": {"vae": (CODES, np.ones(2))}},
    "plots.rate_by_dimension": {"rates": {"vae": np.ones(3)}},
    "training_curves": {"histories": {"vae": {"rate": [1.0, 2.0]}}},
    "sorted_by": {"key": uniform(60), "panels": {"a": uniform(60)}, "name": "rate"},
    "scatter": {"groups": {"a": CODES}, "x_name": "x", "y_name": "y"},
    "reconstructions": {"model": lambda: model("images"), "x": IMAGES, "samples": 2},
    "mean_reconstruction": {"model": lambda: model("images"), "x": IMAGES},
    "latent_traversal": {
        "model": lambda: model("images"),
        "code": np.zeros(2),
        "values": np.linspace(-1, 1, 3),
    },
    "interpolation": {
        "model": lambda: model("images"),
        "start": CODES[:2],
        "end": CODES[2:4],
        "steps": 3,
    },
    "image_rows": {"rows": {"a": IMAGES}},
    "mean_by": {"keys": [np.arange(6) % 2, np.arange(6) % 3], "values": np.ones(6)},
    "generations": {"images": IMAGES},
    "check_images": {"x": IMAGES},
    "audit": {"checks": ["posterior_collapse"], "history": {"val_loss": [2.0, 1.0]}},
    "report": {"x_train": X, "x_test": X},
    "write_for_hub": {"x_train": X, "x_test": X, "folder": folder},
    "cell": {"value": 1.0},
    "differential_entropy": {"z": CODES},
    "density_bounds": {"distortion": 3.0, "cross_entropy": 4.0},
    "expected_divergence": {"entropy": 5.0, "examples": 10},
    "multi_rate": {"model": lambda: model("channel")},
    "renew_memories": {"model": lambda: model("echo"), "x": X},
    "rate_distortion_curve": {
        "build": lambda: build_of,
        "betas": [1.0],
        "epochs": 1,
        "out": folder,
    },
    "RateProbe": {
        "model": lambda: model("network"),
        "layer": "first",
        "tolerance": 0.1,
    },
    "RateDistortionCurve": {
        "runs": [
            dict.fromkeys(studies.curve.RUN - {"target"}, 1.0)
            | {"name": "a", "target": None}
        ]
    },
    "run_all": {"function": lambda: dict, "tasks": list, "names": list},
    "autoencoder": {},
    "posterior": {
        "channel": lambda: layers.GaussianSample(),
        "inputs": lambda: [CODES, CODES],
    },
}
# Datasets and studies ask for files; these only carry what they are given.
LEFT_OUT = {
    *("Dataset", "Entry", "Files", "Raw", "Draw", "Claim", "Column", "Command", "Run"),
    *("FactorStudy", "Study", "Results", "Script", "Table", "Option", "RunsFailed"),
    *("every_number", "write_numbers", "markdown", "mean", "spread", "start", "scores"),
    "sampled_scores",
    *(
        "published",
        "points",
        "parse",
        "plus_minus",
        "compare",
        "all_of",
        "differ",
        "mean_and_error",
        "evaluated",
        "cell",
    ),
    *("write_json", "NormalizedAdam", "StopOnNaN", "NegativeLogProb", "find_layers"),
    *(
        "inception_features",
        "discrete_channels",
        "law",
        "RateDistortionModel",
        "EntropyTargetModel",
        "names",
    ),
    *("Penalty", "Marginal", "Flow", "Channel", "BetaRule", "Distortion", "AnyLayer"),
    *("Audit", "Finding", "push_to_hub"),
    *("made", "RunFolderError", "UnwritableFolderError", "CurvePoint"),
    "ProbeReading",
    "train_side_by_side",  # of JAX alone: its own tests
    *(
        "decompress",
        "decompress_bytes",
        "unpack",
        "FactorDataset",
    ),  # of files: their own tests
}
# These hand data on, a NaN too.
HAND_ON = {"map_batches", "evenly_spaced"}
MODULES = (
    *("layers", "losses", "networks", "objectives", "model", "metrics", "training"),
    *("metrics.novelty", "metrics.disentanglement", "metrics.classification"),
    *("data", "codec", "latent_flow", "probe", "plots", "studies", "data.factors"),
    "data.blocks",
    "reports",
    "interop.tfp",
)
# Names that Keras checks itself.
KERAS = {"name", "dtype", "trainable", "reduction", "args", "kwargs", "svc", "axes"}


def public():
    """(name, what is called) of every public class and function of the modules."""
    seen = set()
    for module_name in MODULES:
        module = importlib.import_module(f"echo_keras.{module_name}")
        names = getattr(module, "__all__", None) or [
            name
            for name, value in vars(module).items()
            if not name.startswith("_")
            and getattr(value, "__module__", "") == module.__name__
        ]
        for name in sorted(names):
            value = getattr(module, name)
            if callable(value) and name not in LEFT_OUT and id(value) not in seen:
                seen.add(id(value))
                yield module_name, name, value


def takes_arguments(function):
    """Whether a function has an argument that is not passed on to Keras."""
    parameters = inspect.signature(function).parameters.values()
    kinds = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
    return any(p.kind not in kinds and p.name not in KERAS for p in parameters)


def value_of(owner, name, argument, make=True):
    """A valid value of an argument that has no default, or of its own choice."""
    for key in (f"{owner}.{name}", name):
        if argument in OWN.get(key, {}):
            found = OWN[key][argument]
            break
    else:
        if argument not in VALID:
            raise KeyError(
                f"{owner}.{name} needs {argument}: add it to VALID or OWN, or the "
                f"function to LEFT_OUT"
            )
        found = VALID[argument]
    is_function = isinstance(found, (types.FunctionType, type))
    return found() if is_function and make else found


def calls_of_arguments():
    """(what, argument, value, call) for each argument of each public name."""
    for owner, name, function in public():
        parameters = [
            p
            for p in inspect.signature(function).parameters.values()
            if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
        ]
        own = OWN.get(f"{owner}.{name}", {}) or OWN.get(name, {})
        given = [p.name for p in parameters if p.default is p.empty or p.name in own]
        for p in parameters:
            if p.name in KERAS and (p.name != "name" or p.default is not p.empty):
                continue
            valid = p.default
            if p.name in given:
                valid = value_of(owner, name, p.name, make=False)
            for label, value in values_for(valid):

                def call(owner=owner, name=name, f=function, given=given, p=p, v=value):
                    arguments = {g: value_of(owner, name, g) for g in given}
                    return f(**{**arguments, p.name: v})

                handed_on = name in HAND_ON and label in ARRAYS
                yield f"{owner}.{name}", None if handed_on else p, label, value, call


def values_for(valid):
    yield from SCALARS.items()
    if isinstance(valid, np.ndarray) and valid.ndim:
        for label, change in ARRAYS.items():
            with contextlib.suppress(ValueError, IndexError):
                yield label, change(valid)


# Layers and what they are called on.
PAIR = [uniform(6, 2), uniform(6, 2)]
CALLED = {
    "BetaInput": (lambda: layers.BetaInput(), X),
    "RateGate": (lambda: layers.RateGate(beta=2.0), X),
    "EchoBottleneck": (lambda: layers.EchoBottleneck(2, d_max=3), X),
    "EchoSample": (lambda: layers.EchoSample(3), PAIR),
    "GaussianBottleneck": (lambda: layers.GaussianBottleneck(2), X),
    "GaussianSample": (lambda: layers.GaussianSample(), PAIR),
    "QuantizedBottleneck": (lambda: layers.QuantizedBottleneck(2, 4), X),
    "VectorQuantizer": (lambda: layers.VectorQuantizer(4), CODES),
    "DeterministicBottleneck": (lambda: layers.DeterministicBottleneck(2), X),
    "StandardNormal": (lambda: layers.StandardNormal(), CODES),
    "Logistic": (lambda: layers.Logistic(), CODES),
    "MAFMarginal": (lambda: layers.MAFMarginal(2, (4,)), CODES),
    "MAFBlock": (lambda: layers.MAFBlock(2, (4,)), CODES),
    "Coupling": (lambda: layers.Coupling((4,)), CODES),
    "Permutation": (lambda: layers.Permutation(), CODES),
    "MMDPenalty": (lambda: layers.MMDPenalty(), CODES),
    "VariancePenalty": (lambda: layers.VariancePenalty(), CODES),
    "TargetDistortion": (
        lambda: layers.TargetDistortion(3.0, losses.SquaredError()),
        [CODES, CODES],
    ),
    "TotalCorrelationPenalty": (
        lambda: layers.TotalCorrelationPenalty(1.0, layers.dense_discriminator((4,))),
        CODES,
    ),
    "MADE": (lambda: layers.MADE((4,)), CODES),
    "InputNoise": (lambda: layers.InputNoise(), X),
    "AppendNoise": (lambda: layers.AppendNoise(2), X),
    "Laplace": (lambda: layers.Laplace(), CODES),
    "SpikeAndSlab": (lambda: layers.SpikeAndSlab(), CODES),
    "GaussianMixture": (lambda: layers.GaussianMixture([[0.0, 1.0]]), CODES),
    "GatedDense": (lambda: layers.GatedDense(3), X),
    "ScaledDense": (lambda: layers.ScaledDense(3), X),
    "Standardize": (lambda: layers.Standardize(), CODES),
    "ShuffledCodes": (lambda: layers.ShuffledCodes(), CODES),
    "PriorSamples": (lambda: layers.PriorSamples(2), X),
    "Scale": (lambda: layers.Scale(), CODES),
    "PixelCNN": (lambda: layers.PixelCNN(2, 1), uniform(2, 4, 4, 1)),
}


def calls_of_layers():
    """(what, None, value, call) for layers called on what does not fit them."""
    for name, (make, x) in CALLED.items():
        for label, change in NUMBERS.items():
            try:
                value = [change(a) for a in x] if isinstance(x, list) else change(x)
            except (ValueError, IndexError):
                continue

            def call(make=make, value=value):
                return make()(value)

            yield f"call.{name}", None, label, value, call

            def call_built(make=make, x=x, value=value):
                layer = make()
                layer(x)
                return layer(value)

            yield f"built.{name}", None, label, value, call_built
        for label in ("-1", "1.5", "None", "'3'", "nan", "True", "10**30", "[]"):

            def sample(make=make, x=x, n=SCALARS[label]):
                layer = make()
                if layer.name.startswith("pixel"):
                    layer(x)
                    return layer.sample(n=n)
                layer(x, training=True)
                return layer.sample(n)

            if hasattr(make(), "sample"):
                yield f"sample.{name}", None, label, SCALARS[label], sample
    for loss in (
        losses.Bernoulli,
        losses.Gaussian,
        losses.Laplace,
        losses.SquaredError,
    ):
        for label, change in NUMBERS.items():
            with contextlib.suppress(ValueError, IndexError):
                value = change(X)

                def of_data(loss=loss, value=value):
                    return loss()(value, X)

                yield f"loss.{loss.__name__}", None, label, value, of_data


def has_nan(found):
    if isinstance(found, dict):
        # Documented: the standard error of one example, and of an infinite divergence.
        return any(has_nan(v) for k, v in found.items() if "_se" not in str(k))
    if isinstance(found, (list, tuple)):
        return any(map(has_nan, found))
    if isinstance(found, float):
        return math.isnan(found)
    if isinstance(found, np.ndarray) or ops.is_tensor(found):
        found = ops.convert_to_numpy(found)
        return found.dtype.kind in "fc" and bool(np.isnan(found).any())
    return False


def _is_finite(value):
    return all(a is None or np.isfinite(a).all() for a in keras.tree.flatten(value))


def wrong_kind(parameter, value):
    """Whether an argument is not of the kind that its annotation names."""
    if parameter is None:
        return False
    kinds = str(getattr(parameter.annotation, "__name__", parameter.annotation))
    if kinds == "bool":
        return not isinstance(value, (bool, np.bool_))
    if kinds == "int":
        return isinstance(value, bool) or not isinstance(value, (int, np.integer))
    if kinds == "float":
        number = isinstance(value, (int, float, np.number))
        return isinstance(value, bool) or not number or not math.isfinite(value)
    return False


def end_of(call, parameter=None, value=None):
    """How a call ends, in a word, and what it says."""

    def too_long(*_):
        raise TimeoutError("too long")

    before = signal.signal(signal.SIGALRM, too_long)
    # Again and again: a callback of the garbage collector may swallow one.
    signal.setitimer(signal.ITIMER_REAL, SECONDS, 1)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("error", RuntimeWarning)
            warnings.simplefilter("error", np.exceptions.ComplexWarning)
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            found = call()
        # A layer is a formula: what comes of NaN is NaN.
        if has_nan(found) and (parameter is not None or _is_finite(value)):
            return "NaN", "a result with NaN"
        if wrong_kind(parameter, value):
            return "accepted", f"{parameter.name}: {parameter.annotation}"
        return "result", ""
    except TimeoutError:
        return "hangs", "too long"
    except Warning as error:
        return "NumPy's warning", str(error)
    except (ValueError, OSError, FloatingPointError, ImportError) as error:
        return _of_sentence(error), str(error)
    except BaseException as error:  # a panic of another language is no Exception
        if isinstance(error, KeyboardInterrupt):
            raise
        return "obscure", f"{type(error).__name__}: {error}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _of_sentence(error):
    text = " ".join(str(error).split())
    last = traceback.extract_tb(error.__traceback__)[-1]
    parts = pathlib.PurePath(last.filename).parts
    by_keras = text.startswith("Exception encountered when calling")
    if by_keras or "keras" in parts and "site-packages" in parts:
        return "Keras's sentence"
    ours = "echo_keras" in parts or "layers" in parts
    # Not what NumPy says of a line of ours.
    said = last.line.startswith("raise")
    return "sentence" if ours and said else "obscure"


def all_calls():
    return [*calls_of_arguments(), *calls_of_layers()]


def main(count, seed=0):
    os.chdir(folder())  # texts are taken for paths: files may be written
    calls = all_calls()
    order = np.random.RandomState(seed).permutation(len(calls))[:count]
    ends = collections.defaultdict(collections.Counter)
    for i in order:
        what, parameter, label, value, call = calls[i]
        end, text = end_of(call, parameter, value)
        ends[what.split(".")[0]][end] += 1
        if end not in FINE:
            argument = "" if parameter is None else parameter.name
            print(
                end,
                "|",
                what,
                "|",
                argument,
                "=",
                label,
                "|",
                text[:150].split("\n")[0],
            )
            sys.stdout.flush()
    total = collections.Counter()
    for kind, of_kind in ends.items():
        total += of_kind
        print(f"TABLE {kind}: {dict(of_kind)}")
    print(f"TABLE all {len(order)} of {len(calls)}: {dict(total)}")


if __name__ == "__main__":
    main(int(sys.argv[1]), *map(int, sys.argv[2:]))
