"""Where the cells of a stack of convolutions and pools lie, by counting."""


def walk(layers):
    """Returns start and jump behind layers of (kernel, stride, padding)."""
    start, jump = 0.0, 1
    for kernel, stride, padding in layers:
        start += ((kernel - 1) / 2 - padding) * jump
        jump *= stride
    return start, jump


def field(layers, cell):
    """Returns the first and last input that a cell of the last layer sees, without the ends of the input."""
    first = last = cell
    for kernel, stride, padding in reversed(layers):
        first = first * stride - padding
        last = last * stride - padding + kernel - 1
    return first, last


def n_cells(layers, n_inputs):
    for kernel, stride, padding in layers:
        n_inputs = (n_inputs + 2 * padding - kernel) // stride + 1
    return n_inputs


CONVNEXT = [(4, 4, 0), (2, 2, 0), (2, 2, 0), (2, 2, 0)]
RESNET = [(7, 2, 3), (3, 2, 1), (3, 1, 1), (3, 2, 1), (3, 2, 1), (3, 2, 1)]
SMALL = [(3, 1, 1), (3, 1, 1), (2, 2, 0)] * 3 + [(3, 1, 1), (3, 1, 1)]
