"""The bundled model, a generator of 64-pixel faces from `scripts.export_model`, and its encoder."""

from pathlib import Path

from utils.errors import ModelError

BUNDLED = Path(__file__).parent / "weights" / "faces_64.pt"
BUNDLED_ENCODER = BUNDLED.with_name("faces_64_encoder.pt")


def bundled_model() -> Path:
    """Return the path of the bundled model.

    Raises:
        ModelError: if the file is missing.
    """
    if not BUNDLED.is_file():
        raise ModelError(
            f"the bundled model is missing: restore {BUNDLED} from the repository, "
            f"or choose another one with --checkpoint"
        )
    return BUNDLED
