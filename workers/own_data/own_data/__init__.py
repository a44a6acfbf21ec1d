"""Makes the data set known: importing this package is all that `--allow own_data` or its entry point does."""

from __future__ import annotations

from akkafka.data import register

from .noisy_digits import load_noisy_digits

__version__ = "0.1.0"

# As the digits themselves are, so that networks that were defined for those take these as well.
NOISY_DIGITS = register(
    "noisy-digits",
    load_noisy_digits,
    sample_shape=(64,),
    dtype="uint8",
    classes=10,
    value_range=(0.0, 16.0),
    about="scikit-learn's digits with noise on every pixel",
)
