from torch import nn

from metrics.errors import MetricError


class Segmenter(nn.Module):
    pass


def find_segmenter(*a):
    raise MetricError("no segmenter")
