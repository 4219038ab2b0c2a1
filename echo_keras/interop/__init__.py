"""Bridges to other libraries, each imported only where it is used.

`echo_keras.interop.tfp` gives marginals and posteriors as distributions of
TensorFlow Probability.
"""
