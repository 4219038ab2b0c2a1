"""What `peers.py` compares with: pythae's trainer, and loops written by hand.

Each function makes one that trains an epoch, and has the images, (n, 28, 28, 1).
"""

import functools
import itertools
import tempfile

import numpy as np

BATCH, LEARNING_RATE, WEIGHTS = 100, 3e-4, 1_398_849


def torch_networks():
    """Encoder, to mean and log-variance side by side, and decoder to logits."""
    from torch import nn

    def block(layer):
        return layer, nn.ReLU()

    down, up = nn.Conv2d, nn.ConvTranspose2d
    encoder = nn.Sequential(
        *block(down(1, 32, 5, padding=2)),
        *block(down(32, 32, 5, stride=2, padding=2)),
        *block(down(32, 64, 5, padding=2)),
        *block(down(64, 64, 5, stride=2, padding=2)),
        *block(down(64, 256, 7)),
        nn.Flatten(),
        nn.Linear(256, 64),
    )
    decoder = nn.Sequential(
        nn.Unflatten(1, (32, 1, 1)),
        *block(up(32, 64, 7)),
        *block(up(64, 64, 5, padding=2)),
        *block(up(64, 64, 5, stride=2, padding=2, output_padding=1)),
        *block(up(64, 32, 5, padding=2)),
        *block(up(32, 32, 5, stride=2, padding=2, output_padding=1)),
        # 28 -> 27 -> 28: kernels of width 4 without a copy for one-sided padding.
        *block(up(32, 32, 4, padding=2)),
        down(32, 1, 4, padding=2),
    )
    both = nn.ModuleList([encoder, decoder])
    assert sum(p.numel() for p in both.parameters()) == WEIGHTS
    return encoder, decoder, both


def torch_loop(images, precision):
    """Eager PyTorch: `torch.compile` gains nothing where convolutions are oneDNN's."""
    import torch
    from torch.nn import functional

    encoder, decoder, both = torch_networks()
    optimizer = torch.optim.Adam(both.parameters(), LEARNING_RATE, fused=True)
    both.to(memory_format=torch.channels_last)
    x = torch.from_numpy(images).permute(0, 3, 1, 2)  # channels last in memory
    mixed = precision != "float32"

    def loss(batch):
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            mean, log_var = encoder(batch).float().chunk(2, dim=1)
            z = mean + torch.exp(0.5 * log_var) * torch.randn_like(mean)
            logits = decoder(z).float()
        distortion = functional.binary_cross_entropy_with_logits(
            logits, batch, reduction="sum"
        )
        rate = 0.5 * (mean.square() + log_var.exp() - log_var - 1).sum()
        return (distortion + rate) / len(batch)

    def epoch():
        total = torch.zeros(())
        for rows in torch.randperm(len(x)).split(BATCH):
            optimizer.zero_grad()
            found = loss(x[rows])
            found.backward()
            optimizer.step()
            total += found.detach()
        assert total.isfinite()

    return epoch


def pythae(images, channels_last):
    """pythae's own trainer without its progress bar; weights in PyTorch's faster order.

    Its guides do not speak of the order, but whoever looks for speed sets it.
    """
    import torch
    from pythae.data.datasets import BaseDataset
    from pythae.models import VAE, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    to_moments, to_logits, both = torch_networks()

    class Encoder(BaseEncoder):
        def __init__(self):
            super().__init__()
            self.network = to_moments

        def forward(self, x):
            mean, log_var = self.network(x).chunk(2, dim=1)
            return ModelOutput(embedding=mean, log_covariance=log_var)

    class Decoder(BaseDecoder):
        def __init__(self):
            super().__init__()
            self.network = to_logits

        def forward(self, z):
            return ModelOutput(reconstruction=torch.sigmoid(self.network(z)))

    if channels_last:
        both.to(memory_format=torch.channels_last)
    x = torch.from_numpy(images).permute(0, 3, 1, 2)
    shape = tuple(x.shape[1:])
    config = VAEConfig(input_dim=shape, latent_dim=32, reconstruction_loss="bce")
    trainer = BaseTrainer(
        VAE(config, Encoder(), Decoder()),
        BaseDataset(x, torch.zeros(len(x))),
        training_config=BaseTrainerConfig(
            output_dir=tempfile.mkdtemp(),
            per_device_train_batch_size=BATCH,
            learning_rate=LEARNING_RATE,
        ),
    )
    trainer.prepare_training()
    trainer.callback_handler.callbacks.clear()
    epochs = itertools.count(1)
    return lambda: trainer.train_step(next(epochs))


def jax_loop(images, precision, scanned):
    """Data and state on the device; a program for a step, or for all of an epoch."""
    import jax
    from jax import lax
    from jax import numpy as jnp

    layout = ("NHWC", "HWIO", "NHWC")
    down = functools.partial(lax.conv_general_dilated, dimension_numbers=layout)
    up = functools.partial(lax.conv_transpose, dimension_numbers=layout)
    # Function, filters in and out, width, stride, padding.
    encoder = [
        (down, 1, 32, 5, 1, "SAME"),
        (down, 32, 32, 5, 2, "SAME"),
        (down, 32, 64, 5, 1, "SAME"),
        (down, 64, 64, 5, 2, "SAME"),
        (down, 64, 256, 7, 1, "VALID"),
    ]
    heads = [(down, 256, 64, 1, 1, "VALID")]
    decoder = [
        (up, 32, 64, 7, 1, "VALID"),
        (up, 64, 64, 5, 1, "SAME"),
        (up, 64, 64, 5, 2, "SAME"),
        (up, 64, 32, 5, 1, "SAME"),
        (up, 32, 32, 5, 2, "SAME"),
        (up, 32, 32, 4, 1, "SAME"),
    ]
    to_logits = [(down, 32, 1, 4, 1, "SAME")]
    layers = encoder + heads + decoder + to_logits
    weights, rng = [], np.random.default_rng(0)
    for _, inputs, filters, width, _, _ in layers:
        limit = (6 / (width**2 * (inputs + filters))) ** 0.5
        kernel = rng.uniform(-limit, limit, (width, width, inputs, filters))
        weights.append((jnp.float32(kernel), jnp.zeros(filters)))
    assert sum(w.size for w in jax.tree.leaves(weights)) == WEIGHTS
    dtype = jnp.float32 if precision == "float32" else jnp.bfloat16
    linear = heads[0], to_logits[0]

    def apply(x, layers, weights):
        for layer, (kernel, bias) in zip(layers, weights, strict=True):
            function, _, _, _, stride, padding = layer
            x = function(x, kernel, (stride, stride), padding) + bias
            x = x if layer in linear else jax.nn.relu(x)
        return x

    def loss(weights, batch, key):
        weights = jax.tree.map(lambda w: w.astype(dtype), weights)
        cut = len(encoder + heads)
        moments = apply(batch.astype(dtype), encoder + heads, weights[:cut])
        mean, log_var = jnp.split(moments.astype(jnp.float32), 2, axis=-1)
        z = mean + jnp.exp(0.5 * log_var) * jax.random.normal(key, mean.shape)
        logits = apply(z.astype(dtype), decoder + to_logits, weights[cut:])
        logits = logits.astype(jnp.float32)
        distortion = jnp.sum(jax.nn.softplus(logits) - batch * logits)
        rate = 0.5 * jnp.sum(mean**2 + jnp.exp(log_var) - log_var - 1)
        return (distortion + rate) / len(batch)

    def step(data, state, batch):
        weights, m, v, t = state
        rows, key = batch
        value, gradient = jax.value_and_grad(loss)(weights, data[rows], key)
        t += 1
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, gradient)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, gradient)
        rate = LEARNING_RATE * jnp.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        weights = jax.tree.map(
            lambda w, m, v: w - rate * m / (jnp.sqrt(v) + 1e-7), weights, m, v
        )
        return (weights, m, v, t), value

    @functools.partial(jax.jit, donate_argnums=0)
    def train(state, data, batches):
        take = functools.partial(step, data)
        return lax.scan(take, state, batches) if scanned else take(state, batches)

    data, steps = jnp.asarray(images), len(images) // BATCH
    zeros = jax.tree.map(jnp.zeros_like, weights)
    state = [(weights, zeros, jax.tree.map(jnp.copy, zeros), jnp.float32(0))]
    keys = map(jax.random.key, itertools.count())

    def epoch():
        order, noise = jax.random.split(next(keys))
        rows = jax.random.permutation(order, len(data)).reshape(steps, BATCH)
        batches = rows, jax.random.split(noise, steps)
        losses = []
        for batch in [batches] if scanned else zip(*batches, strict=True):
            state[0], found = train(state[0], data, batch)
            losses.append(found)
        assert all(np.isfinite(found).all() for found in losses)

    return epoch
