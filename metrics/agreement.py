import torch


def confusion(p, l, k):
    return torch.zeros(k, k, dtype=torch.long)


def iou(c):
    return torch.zeros(len(c))


def mean_iou(c):
    return 0.0
