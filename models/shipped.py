"""The bundled model: faces of 64 pixels, `scripts.export_model`'s file of a training run.

Its encoder, `scripts.train_encoder`'s file, lies beside it.
"""

from pathlib import Path

from models.errors import ModelError

SHIPPED = Path(__file__).parent / "weights" / "faces_64.pt"
SHIPPED_ENCODER = SHIPPED.with_name("faces_64_encoder.pt")


def shipped_model() -> Path:
    """The file.

    Raises:
        ModelError: if somebody removed it.
    """
    if not SHIPPED.is_file():
        raise ModelError(
            f"the bundled model is missing: put {SHIPPED} back (it is in the repository), "
            f"or name another with --checkpoint"
        )
    return SHIPPED
