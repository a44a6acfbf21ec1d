"""A window that goes over an image: sizes of what convolutions and pools take and give."""

from __future__ import annotations

from dataclasses import dataclass

from akkafka.errors import ShapeError
from akkafka.nn.layer import Shape

Pair = tuple[int, int]
Geometry = tuple[int, int, int, int, int, int, int, int, int, int]


@dataclass(frozen=True, slots=True)
class Window:
    """Each (height, width): the kernel's size, its steps, the rim around the image, the gaps in the kernel."""

    kernel: Pair
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)

    def positions(self, size: Pair) -> Pair:
        """How many places the window has in an image of `size`; 0 or less if it does not fit."""
        height, width = (
            (n + 2 * p - d * (k - 1) - 1) // s + 1
            for n, k, s, p, d in zip(size, self.kernel, self.stride, self.padding, self.dilation, strict=True)
        )
        return height, width

    def checked(self, kind: str, size: Pair) -> Pair:
        """As `positions`; raises ShapeError if the window does not fit into an image of `size`."""
        places = self.positions(size)
        if min(places) < 1:
            raise ShapeError(
                f"{kind}: a window of {self.kernel} with dilation {self.dilation} does not fit into {size} "
                f"with padding {self.padding}",
                hint="a smaller kernel, or more padding; earlier strides and pools may have left too little",
            )
        return places

    def spread(self, places: Pair, extra: Pair) -> Pair:
        """Size of the image that a window with so many `places` came from, `extra` rows and columns on top."""
        height, width = (
            (n - 1) * s - 2 * p + d * (k - 1) + e + 1
            for n, k, s, p, d, e in zip(
                places, self.kernel, self.stride, self.padding, self.dilation, extra, strict=True
            )
        )
        return height, width

    def geometry(self, places: Pair) -> Geometry:
        """What the kernels take: kernel, stride, padding, dilation, places."""
        return (*self.kernel, *self.stride, *self.padding, *self.dilation, *places)


def image(kind: str, in_shape: Shape) -> tuple[int, int, int]:
    """(channels, height, width); raises ShapeError for samples that are no images."""
    if len(in_shape) != 3:
        raise ShapeError(f"{kind} takes images (channels, height, width), got {in_shape}", hint="put a reshape there")
    return in_shape[0], in_shape[1], in_shape[2]
