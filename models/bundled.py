"""The bundled model: faces of 64 pixels, `scripts.export_model`'s file of a training run.

Its encoder, `scripts.train_encoder`'s file, lies beside it.
"""

from pathlib import Path

from utils.errors import ModelError

BUNDLED = Path(__file__).parent / "weights" / "faces_64.pt"
BUNDLED_ENCODER = BUNDLED.with_name("faces_64_encoder.pt")


def bundled_model() -> Path:
    """The file.

    Raises:
        ModelError: if somebody removed it.
    """
    if not BUNDLED.is_file():
        raise ModelError(
            f"the bundled model is missing: put {BUNDLED} back (it is in the repository), "
            f"or name another with --checkpoint"
        )
    return BUNDLED
