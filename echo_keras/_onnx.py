"""What Keras does not check of the ONNX files that it exports."""

import pathlib


def check_operations(filepath: str | pathlib.Path) -> None:
    """Deletes an ONNX file that has operations which ONNX does not know.

    tf2onnx writes these as they are, and reports success.

    Raises:
        ValueError: there are such operations.
    """
    import onnx  # what Keras wrote the file with needs it

    path = pathlib.Path(filepath)
    nodes = onnx.load(str(path)).graph.node
    ours = {n.op_type for n in nodes if not n.domain}
    unknown = sorted(name for name in ours if not onnx.defs.has(name))
    if unknown:
        path.unlink()
        noise = any("Random" in name for name in unknown)
        raise ValueError(
            f"A model must be made of operations that ONNX has to be exported as such. "
            f"Received: {', '.join(unknown)}"
            + noise
            * (
                ", which draw noise. Export the code without noise, "
                "keras.Model(x, bottleneck.code(encoder(x))), or as tf_saved_model."
            )
        )
