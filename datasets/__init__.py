"""Images with class masks: reading, writing, order, conversions, pictures, and an embedded data set of drawn faces."""

from datasets.class_files import celebamask13, default_table, load_table
from datasets.errors import DataError
from datasets.image_mask import ImageMaskDataset
from datasets.image_only import ImageDataset
from datasets.labels import ClassTable
from datasets.layouts import encode_pair
from datasets.lmdb_writer import LmdbWriter, ResumableWriter
from datasets.loader import DataConfig, make_loader
from datasets.pictures import colorize, grid, overlay, save_label_png, save_png
from datasets.sampler import InfiniteSampler
from datasets.synthetic_faces import draw_face
from datasets.transforms import float_to_images, images_to_float, labels_to_one_hot, segmentation_to_labels

__all__ = [
    "ClassTable",
    "DataConfig",
    "DataError",
    "ImageDataset",
    "ImageMaskDataset",
    "InfiniteSampler",
    "LmdbWriter",
    "ResumableWriter",
    "celebamask13",
    "colorize",
    "default_table",
    "draw_face",
    "encode_pair",
    "float_to_images",
    "grid",
    "images_to_float",
    "labels_to_one_hot",
    "load_table",
    "make_loader",
    "overlay",
    "save_label_png",
    "save_png",
    "segmentation_to_labels",
]
