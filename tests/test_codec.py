"""Tests of the codec: round trips, sizes, headers, damaged and foreign files."""

import math
import struct
import sys
import tracemalloc
import zlib

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tools import array, small_networks

from echo_keras import _range_coding, codec, losses, objectives
from echo_keras.layers import VectorQuantizer

core = pytest.mark.core

quick = settings(max_examples=40, deadline=None, derandomize=True, database=None)


def quantizer(probabilities, width=1, seed=0):
    """A built layer whose frequencies are those given, (groups, codewords)."""
    probabilities = np.asarray(probabilities)
    groups, codewords = probabilities.shape
    layer = VectorQuantizer(codewords, groups=groups, seed=seed)
    layer.build((None, groups * width))
    layer.frequencies.assign(probabilities)
    return layer


def draw(probabilities, shape, seed=0):
    """Indices (*shape, groups) of these probabilities."""
    rng = np.random.RandomState(seed)
    laws = [rng.choice(len(p), shape, p=p) for p in np.asarray(probabilities)]
    return np.stack(laws, axis=-1).astype("int32")


SKEWED = [[0.6, 0.2, 0.1, 0.1], [0.01, 0.01, 0.08, 0.9]]


def model(seed=0, **arguments):
    """4 inputs -> 2 x 3 positions of 4 dimensions -> 5 outputs, a little trained."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((4,))
    z = keras.layers.Reshape((2, 3, 4))(keras.layers.Dense(24)(inputs))
    z = VectorQuantizer(8, groups=2, **arguments)(z)
    outputs = keras.layers.Dense(5)(keras.layers.Flatten()(z))
    made = keras.Model(inputs, outputs)
    for _ in range(3):
        made(data(50), training=True)
    return made


def data(n=20):
    return np.random.RandomState(1).normal(size=(n, 4)).astype("float32")


# Indices


@quick
@given(st.data())
def test_indices_come_back(data):
    groups = data.draw(st.integers(1, 3))
    codewords = data.draw(st.sampled_from([2, 3, 17, 300]))
    seed = data.draw(st.integers(0, 1000))
    sharpness = data.draw(st.sampled_from([0.01, 1.0, 100.0]))
    rng = np.random.RandomState(seed)
    p = rng.dirichlet(np.full(codewords, 1 / sharpness), size=groups)
    shape = (data.draw(st.integers(1, 30)), *data.draw(st.sampled_from([(), (2, 3)])))
    # Whatever the frequencies are, every codeword can be written.
    indices = rng.randint(codewords, size=(*shape, groups))
    layer = quantizer(p)
    found = codec.unpack(layer, codec.pack(layer, indices))
    assert found.dtype == "int32"
    np.testing.assert_array_equal(found, indices)


def test_pixels_that_the_loss_refuses_are_not_compressed():
    bernoulli, x = model(), (data() > 0).astype("float32")
    bernoulli.compile("sgd", loss=losses.Bernoulli())
    codec.compress_bytes(bernoulli, x)
    with pytest.raises(ValueError, match="data of Bernoulli must be"):
        codec.compress_bytes(bernoulli, 255 * x)


def test_a_codeword_of_frequency_zero_can_be_written():
    layer = quantizer([[1.0, 0.0, 0.0]])
    indices = np.array([[0], [2], [0], [1]])
    np.testing.assert_array_equal(
        codec.unpack(layer, codec.pack(layer, indices)), indices
    )


@pytest.mark.parametrize("codewords", [2, 64, 4096])
@pytest.mark.parametrize("skewed", [False, True])
def test_the_payload_is_the_code_length(codewords, skewed):
    rng = np.random.RandomState(0)
    p = rng.dirichlet(np.full(codewords, 0.3 if skewed else 100.0), size=16)
    layer = quantizer(p)
    indices = draw(p, (1000,))
    size = len(codec.pack(layer, indices)) - codec.header_bytes(1)
    lengths = codec.code_lengths(indices, layer.code_probabilities())
    bits = lengths.sum() / math.log(2)
    assert lengths.shape == (1000,)
    assert bits <= 8 * size <= 1.001 * bits + 64
    # And that is the entropy, by the law of large numbers (five standard errors).
    error = lengths.std() / math.sqrt(1000)
    assert abs(lengths.mean() - layer.entropy()) < 5 * error + 16 * 2e-3


def test_code_lengths_by_hand():
    p = np.array([[0.5, 0.25, 0.25], [0.125, 0.75, 0.125]])
    indices = np.array([[[0, 0], [1, 2]], [[2, 1], [0, 1]]])
    bits = [1 + 3 + 2 + 3, 2 + 1 - 2 * math.log2(0.75)]
    lengths = codec.code_lengths(indices, p)
    np.testing.assert_allclose(lengths / math.log(2), bits)


def test_the_header_is_as_documented():
    layer = quantizer(SKEWED, width=3)
    indices = draw(SKEWED, (7, 5, 2))
    data = codec.pack(layer, indices)
    fields = struct.unpack_from("<4sBBIQ8sI3I", data)
    magic, version, rank, codewords, examples, _, crc, *shape = fields
    assert (magic, version, rank, codewords, examples) == (b"EKVQ", 1, 3, 4, 7)
    assert shape == [5, 2, 2]
    assert crc == zlib.crc32(data[:26] + data[30:])
    assert codec.header_bytes(3) == struct.calcsize("<4sBBIQ8sI3I") == 42
    assert codec.header_bytes(1) == 34
    assert (len(data) - 42) % 4 == 0


BAD_INDICES = {
    "real numbers": np.zeros((3, 2)),
    "another number of groups": np.zeros((3, 3), int),
    "no example": np.zeros((0, 2), int),
    "one axis": np.zeros(2, int),
}


@pytest.mark.parametrize("kind", BAD_INDICES)
def test_indices_of_the_wrong_shape_raise(kind):
    with pytest.raises(
        ValueError, match="^indices must be integers .* groups = 2. Received: "
    ):
        codec.pack(quantizer(SKEWED), BAD_INDICES[kind])


@quick
@given(st.one_of(st.integers(-(2**40), -1), st.integers(4, 2**40)))
def test_indices_out_of_range_raise(value):
    indices = np.array([[0, 1], [value, 0]])
    with pytest.raises(ValueError, match=r"^indices must be in \[0, 4\). Received: "):
        codec.pack(quantizer(SKEWED), indices)


# Files that cannot be read


def packed():
    return bytearray(codec.pack(quantizer(SKEWED), draw(SKEWED, (50,))))


def test_every_cut_is_noticed():
    layer, data = quantizer(SKEWED), bytes(packed())
    for size in range(len(data)):
        with pytest.raises(ValueError, match="must begin|cut short|is damaged"):
            codec.unpack(layer, data[:size])
    with pytest.raises(ValueError, match="is damaged: copy"):
        codec.unpack(layer, data + b"\0")


@pytest.mark.parametrize("bit", [0, 7])
def test_every_flipped_bit_is_noticed(bit):
    layer = quantizer(SKEWED)
    sentences = []
    for place in range(len(packed())):
        data = packed()
        data[place] ^= 1 << bit
        with pytest.raises(ValueError) as error:
            codec.unpack(layer, bytes(data))
        sentences.append(str(error.value))
    assert all("must begin with" in s for s in sentences[:4])
    assert "must be of version" in sentences[4]
    assert all("CRC-32" in s for s in sentences[5:])


DAMAGE = {
    "empty": (lambda data: b"", "^The file must begin with"),
    "picture": (lambda data: b"\x89PNG" + data[4:], r"Received: b'\\x89PNG'"),
    "header cut": (
        lambda data: data[:20],
        "^The file must hold a header .* Received: 20 bytes",
    ),
    "newer": (
        lambda data: data[:4] + b"\3" + data[5:],
        "of version 1 .* Received: version 3",
    ),
    "payload": (
        lambda data: data[:-1] + b"?",
        "^The file must hold bytes with the CRC-32",
    ),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_named(kind):
    damage, sentence = DAMAGE[kind]
    with pytest.raises(ValueError, match=sentence):
        codec.unpack(quantizer(SKEWED), damage(bytes(packed())))


def forged(**fields):
    """A file of 50 examples with other fields in its header, and the right CRC."""
    layer = quantizer(SKEWED)
    data = bytes(packed())
    names = "magic version rank codewords examples mark crc".split()
    head = dict(zip(names, struct.unpack_from("<4sBBIQ8sI", data), strict=True))
    rest = fields.pop("shape", data[30:34]) + fields.pop("payload", data[34:])
    head |= fields
    *head, _ = head.values()
    head = struct.pack("<4sBBIQ8s", *head)
    crc = zlib.crc32(rest, zlib.crc32(head))
    return layer, head + struct.pack("<I", crc) + rest


def words(*numbers):
    return struct.pack(f"<{len(numbers)}I", *numbers)


PAYLOAD = bytes(packed()[34:])
FORGED = {
    "10^13 examples": ({"examples": 10**13}, "at most max_indices=134217728 indices"),
    "all examples": ({"examples": 2**64 - 1}, "at most max_indices="),
    "too many": (
        {"examples": 5000},
        r"of payload or more. Received: \d+ bytes for 5000",
    ),
    "one more": ({"examples": 51}, "the words of the 51 examples .* end elsewhere"),
    "one less": ({"examples": 49}, "the words of the 49 examples .* end elsewhere"),
    "no examples": ({"examples": 0}, "at least one example.* Received: 0 of shape"),
    "no axes": ({"rank": 0, "shape": b""}, "an axis or more .* Received: 0 axes"),
    "255 axes": ({"rank": 255}, "whole words. Received: 255 axes, -"),
    "huge shape": (
        {"rank": 3, "shape": words(2**32 - 1, 2**32 - 1, 2)},
        "at most max_indices=",
    ),
    "empty shape": (
        {"rank": 2, "shape": words(0, 2)},
        r"Received: 50 of shape \(0, 2\)",
    ),
    "other groups": ({"shape": words(3)}, r"indices \(..., 2\). Received: .*\(3,\)"),
    "other codewords": ({"codewords": 99}, "be of this model.* Received: 99"),
    "half a word": ({"payload": PAYLOAD[:-1]}, "an axis or more and whole words"),
    "no payload": ({"payload": b""}, "end elsewhere"),
    "cut payload": ({"payload": PAYLOAD[:-4]}, "end elsewhere"),
    "payload twice": ({"payload": 2 * PAYLOAD}, "end elsewhere"),
    "zeros behind": ({"payload": PAYLOAD + bytes(4)}, "end elsewhere"),
    "other bits": ({"payload": PAYLOAD[:-1] + b"\xff"}, "end elsewhere"),
}


@pytest.mark.parametrize("kind", FORGED)
def test_a_forged_header_is_named_and_nothing_is_allocated_for_it(kind):
    fields, sentence = FORGED[kind]
    layer, data = forged(**fields)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=f"^The file must .*{sentence}"):
            codec.unpack(layer, data)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_an_honest_header_passes():
    layer, data = forged()
    assert data == bytes(packed())
    np.testing.assert_array_equal(codec.unpack(layer, data), draw(SKEWED, (50,)))


def test_nearly_certain_codewords_have_a_bound_of_their_own():
    # So that a file of 42 bytes may hold a hundred million indices.
    layer = quantizer([[1.0, 0.0]])
    indices = np.zeros((100_000, 1), int)
    data = codec.pack(layer, indices)
    assert len(data) < 50
    np.testing.assert_array_equal(codec.unpack(layer, data, 100_000), indices)
    with pytest.raises(ValueError, match="at most max_indices=99999 indices"):
        codec.unpack(layer, data, max_indices=99_999)


def test_a_panic_of_rust_is_a_value_error(monkeypatch):
    class PanicException(BaseException):
        pass

    def panic(*arguments):
        raise PanicException("called `Option::unwrap()`")

    data = bytes(packed())
    monkeypatch.setattr(_range_coding, "_categoricals", panic)
    with pytest.raises(ValueError, match="words of the range coder. .*Option::unwrap"):
        codec.unpack(quantizer(SKEWED), data)


def other_probabilities():
    return quantizer([SKEWED[1], SKEWED[0]])


def other_codewords():
    return quantizer(SKEWED, seed=1)


def other_width():
    return quantizer(SKEWED, width=2)


def one_bit_off():
    layer = quantizer(SKEWED)
    codebook = array(layer.codebook()).copy()
    codebook[0, 0, 0] = np.nextafter(codebook[0, 0, 0], np.float32(9))
    layer.base.assign(codebook)
    return layer


@pytest.mark.parametrize(
    "other", [other_probabilities, other_codewords, other_width, one_bit_off]
)
def test_the_file_of_another_model_is_refused(other):
    with pytest.raises(ValueError, match="^The file must be of this model, whose"):
        codec.unpack(other(), bytes(packed()))


def test_frequencies_that_are_not_finite_raise():
    layer = quantizer([[np.nan, 1.0]])
    with pytest.raises(ValueError, match="frequencies must be finite"):
        codec.pack(layer, np.zeros((3, 1), int))


def test_without_constriction_the_sentence_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "constriction", None)
    with pytest.raises(ImportError, match=r"pip install 'echo-keras\[codec\]'"):
        codec.pack(quantizer(SKEWED), draw(SKEWED, (3,)))


# Models


@core
@pytest.mark.parametrize("update", ["ema", "gradient"])
def test_a_reloaded_model_reads_what_the_model_wrote(update, tmp_path):
    trained = model(update=update)
    x = data()
    report = codec.compress(trained, x, tmp_path / "codes", batch_size=7)
    trained.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras", safe_mode=True)
    found = codec.decompress(loaded, tmp_path / "codes", batch_size=6)
    np.testing.assert_allclose(found, trained.predict(x, verbose=0), rtol=1e-5)

    _, layer, _ = codec.split(trained)
    indices = codec.encode(trained, x)
    assert indices.shape == (20, 2, 3, 2)
    written = codec.unpack(layer, (tmp_path / "codes").read_bytes())
    np.testing.assert_array_equal(written, indices)
    rate = codec.code_lengths(indices, layer.code_probabilities()).mean()
    size = (tmp_path / "codes").stat().st_size
    assert report == {
        "examples": 20,
        "rate": pytest.approx(rate),
        "rate_bits": pytest.approx(rate / math.log(2)),
        "file_bytes": size,
        "payload_bytes": size - codec.header_bytes(3),
        "file_bits": pytest.approx(8 * size / 20),
    }
    # What the layer measures.
    trained(x)
    measured = float(array(layer.last_rate))
    np.testing.assert_allclose(rate, measured, rtol=1e-5)


def test_a_model_trained_on_does_not_read_its_older_files(tmp_path):
    trained = model()
    codec.compress(trained, data(), tmp_path / "codes")
    trained(data(50), training=True)
    with pytest.raises(ValueError, match="must be of this model"):
        codec.decompress(trained, tmp_path / "codes")


@pytest.mark.parametrize("adversarial", [False, True])
def test_models_of_the_objectives_are_split(adversarial, tmp_path):
    networks = *small_networks(), 4, 8
    if adversarial:
        discriminator = keras.Sequential([keras.layers.Dense(1)])
        made = objectives.generative_compression(
            *networks,
            dither=0.0,
            groups=2,
            discriminator=discriminator,
        )
    else:
        made = objectives.shannon_ae(*networks, groups=2)
    x = np.random.RandomState(0).random_sample((50, 8)).astype("float32")
    made(x, training=True)  # which gives the codewords
    path = tmp_path / "codes.ekvq"
    report = codec.compress(made, x, path)
    assert report["examples"] == 50
    features = made.get_layer("encoder")(x)
    indices = array(made.get_layer("bottleneck").indices(features))
    np.testing.assert_array_equal(codec.encode(made, x), indices)
    found = codec.decompress(made, path)
    np.testing.assert_allclose(found, made.predict(x, verbose=0), atol=1e-5)


def test_codes_at_other_positions_are_refused(tmp_path):
    trained = model()
    _, layer, _ = codec.split(trained)
    indices = codec.encode(trained, data())  # (20, 2, 3, 2)
    flat = codec.pack(layer, indices.reshape(20, 6, 2))
    sentence = r"positions \(2, 3\) of this model. Received: positions \(6,\)"
    with pytest.raises(ValueError, match=sentence):
        codec.decompress_bytes(trained, flat)


def test_bytes_are_those_of_files(tmp_path):
    trained, x = model(), data()
    codec.compress(trained, x, tmp_path / "codes")
    content = codec.compress_bytes(trained, x)
    assert content == (tmp_path / "codes").read_bytes()
    found = codec.decompress_bytes(trained, content)
    np.testing.assert_array_equal(found, codec.decompress(trained, tmp_path / "codes"))


@pytest.mark.parametrize(
    ("x", "sentence"),
    [
        (data()[:0], r"^x must be .* at least one number. Received: .*\(0, 4\)"),
        (np.where(data() > 2, np.nan, data()), "^x must hold finite .* in 2 of 20"),
        (np.where(data() > 2, np.inf, data()), "^x must hold finite .* in 2 of 20"),
    ],
)
def test_what_cannot_be_coded_is_not_written(tmp_path, x, sentence):
    with pytest.raises(ValueError, match=sentence):
        codec.compress(model(), x, tmp_path / "codes")
    assert not (tmp_path / "codes").exists()


def test_a_model_that_diverged_is_not_written_with():
    trained = model()
    kernel = trained.layers[1].kernel
    kernel.assign(kernel * np.nan)
    with pytest.raises(ValueError, match="^model must have an encoder that gives fin"):
        codec.compress_bytes(trained, data())


def test_dither_is_the_decoders(tmp_path):
    trained = model(dither=0.5, seed=1)
    codec.compress(trained, data(), tmp_path / "codes")
    first, second = (codec.decompress(trained, tmp_path / "codes") for _ in range(2))
    assert np.abs(first - second).min() > 0


def test_half_precision_models(tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    trained = model()
    codec.compress(trained, data(), tmp_path / "codes")
    found = codec.decompress(trained, tmp_path / "codes").astype("float32")
    expected = trained.predict(data(), verbose=0).astype("float32")
    np.testing.assert_allclose(found, expected, rtol=0.02, atol=0.02)


def passed_by():
    inputs = keras.Input((4,))
    return keras.Model(inputs, VectorQuantizer(4)(inputs) + inputs)


def nested():
    inputs = keras.Input((4,))
    return keras.Model(inputs, keras.Sequential([VectorQuantizer(4)])(inputs))


def two():
    inputs = keras.Input((4,))
    return keras.Model(inputs, VectorQuantizer(4)(VectorQuantizer(4)(inputs)))


def unbuilt():
    return keras.Sequential([VectorQuantizer(4)])


@pytest.mark.parametrize(
    "maker, sentence",
    [
        (passed_by, "something passes the layer by"),
        (nested, "one VectorQuantizer .* a model with 0"),
        (two, "one VectorQuantizer .* a model with 2"),
        (unbuilt, "does not know its inputs"),
    ],
)
def test_models_that_the_codec_cannot_split(maker, sentence):
    with pytest.raises(ValueError, match=f"^model must .*{sentence}"):
        codec.split(maker())
