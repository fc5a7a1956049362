"""What spectra cost beside the bare transforms of numpy."""

import numpy as np
import torch

from tests.benchmarks.harness import Measured, bench, ratio, seconds
from workbench.functional import fourier_coefficients_2d


@bench("spectrum over pairs, 113 x 113 x 512 activations", at_most=3, unit="x numpy's rfft2")
def over_pairs() -> Measured:
    """Coefficients of both axes in single precision, against numpy.fft.rfft2 of the same array, in turns."""
    values = torch.randn(113, 113, 512, generator=torch.Generator().manual_seed(0))
    array = values.numpy()

    def ours() -> float:
        return seconds(lambda: fourier_coefficients_2d(values))

    def theirs() -> float:
        return seconds(lambda: np.fft.rfft2(array, axes=(0, 1)))

    ours(), theirs()  # warm
    return ratio(ours, theirs, rounds=7)
