"""Drawing and editing with a trained generator: codes, local mixing and interpolation, picture sheets, animations."""

from editing.background import fit_background
from editing.codes import load_codes, save_codes, seed_codes
from editing.directions import Direction, load_direction, save_direction
from editing.drawing import Drawing, Scene, draw
from editing.errors import EditError
from editing.files import check_free, make_folder
from editing.jobs import Job, Motion, component_job, files_job, grid_job, interpolation_job, mixing_job, push, slide_job
from editing.loading import calm_threads, load_model
from editing.mixing import code_index, interpolate, loop, mixing_table, swap
from editing.options import parse_options
from editing.selection import Parts, parse_parts, parse_seeds
from editing.sources import source_codes, stored_codes, take_parts

__all__ = [
    "Direction",
    "Drawing",
    "EditError",
    "Job",
    "Motion",
    "Parts",
    "Scene",
    "calm_threads",
    "check_free",
    "code_index",
    "component_job",
    "draw",
    "files_job",
    "fit_background",
    "grid_job",
    "interpolate",
    "interpolation_job",
    "load_codes",
    "load_direction",
    "load_model",
    "loop",
    "make_folder",
    "mixing_job",
    "mixing_table",
    "parse_options",
    "parse_parts",
    "parse_seeds",
    "push",
    "save_codes",
    "save_direction",
    "seed_codes",
    "slide_job",
    "source_codes",
    "stored_codes",
    "swap",
    "take_parts",
]
