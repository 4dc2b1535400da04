"""Edits images part by part in the browser: click a part, change it, save image, mask, codes or an animation.

    python -m scripts.studio                                       the bundled model, at http://127.0.0.1:7860
    python -m scripts.studio --checkpoint CK --port 7861

It needs requirements-studio.txt. Only this machine reaches the page, unless --host says otherwise; the page asks
nothing of other machines. Photos of visitors are inverted in few steps, from where the model's encoder says if it has
one, and are deleted; what visitors do is in memory only, each one's apart.
"""

import argparse
import importlib.util
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from editing.encoder import Encoder, load_encoder
from editing.generate_options import positive
from editing.loading import limit_threads, load_model
from editing.photos import training_crop
from models import Generator
from models.bundled import BUNDLED_ENCODER, bundled_model
from models.checkpoint import load_networks
from ops import set_mode
from scripts.studio_page.uploads import Uploads
from scripts.studio_page.workshop import LARGEST_SEED, Workshop
from utils import cli
from utils.errors import ConfigError, EditError

REQUIREMENTS = "requirements-studio.txt"
LARGEST_PORT = 65535
# GRADIO_ROOT_PATH alone stays: it tells where a proxy in front of the studio serves it.
FOREIGN_VARIABLES = ("GRADIO_", "HF_", "SSL_CERT_", "WEB_CONCURRENCY", "SPACE_ID")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(__doc__)
    add = parser.add_argument
    add("--checkpoint", type=Path, help="a file of train.py, or a released one (default: the bundled model)")
    add(
        "--host",
        default="127.0.0.1",
        help="to listen on; 0.0.0.0 lets the network in (default 127.0.0.1)",
    )
    add("--port", type=int, default=7860, help="to listen on (default 7860)")
    add("--seed", type=int, default=0, help="of the face that visitors find (default 0)")
    add("--encoder", type=Path, help="of scripts.train_encoder, for photos (default: that of the bundled model)")
    add("--steps", type=positive, default=100, help="of inverting a photo (default 100)")
    add("--device", help="such as cpu or cuda:1 (default cuda where there is a GPU, else cpu)")
    add("--ops", choices=("auto", "native", "compiled"), default="auto", help="kernels (default auto)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Serves the page until Ctrl-C; all checks come before the model is loaded."""
    args = parse(argv)
    require_gradio()
    host = args.host.strip("[]")
    check_address(host, args.port)
    host = f"[{host}]" if ":" in host else host  # as IPv6 addresses are written in URLs
    if not 0 <= args.seed <= LARGEST_SEED:
        raise ConfigError(f"--seed {args.seed}: choose one from 0 to {LARGEST_SEED}")
    device = cli.usable_device(args.device)
    checkpoint = args.checkpoint or bundled_model()
    generator, classes = load_model(checkpoint, device)
    encoder = find_encoder(args, generator)
    set_mode(args.ops, device.type)
    limit_threads(generator)
    with private_gradio():
        from scripts.studio_page.page import launch  # Gradio reads the environment when it is imported

        workshop = Workshop(generator, classes)
        uploads = Uploads(workshop, training_crop(load_networks(checkpoint).contents), args.steps, encoder)
        try:
            page = launch(workshop, uploads, args.seed, host, args.port)
        except OSError:  # taken since it was checked, while the model was loaded
            raise ConfigError(f"cannot listen on {host}, port {args.port}; choose another --port or --host") from None
        ended = end_of_process()
        print(f"{checkpoint} is at http://{host}:{args.port} (Ctrl-C ends it)", flush=True)
        try:
            ended.wait()
        finally:
            page.close(verbose=False)
        print("closed", file=sys.stderr)


def find_encoder(args: argparse.Namespace, generator: Generator) -> Encoder | None:
    """The encoder that finds a start for photos; other models than the one that ships may have none.

    Raises:
        EditError: if it cannot be read, or was made for another model.
    """
    path = args.encoder or (None if args.checkpoint else BUNDLED_ENCODER)
    return load_encoder(path, generator).encoder if path else None


def require_gradio() -> None:
    """Raises EditError if the package is missing."""
    if importlib.util.find_spec("gradio") is None:
        raise EditError(f"the studio needs Gradio, which is not installed: pip install -r {REQUIREMENTS}")


def check_address(host: str, port: int) -> None:
    """Raises ConfigError if nothing can listen there."""
    if not 1 <= port <= LARGEST_PORT:
        raise ConfigError(f"--port {port}: choose one from 1 to {LARGEST_PORT}")
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does, after an earlier one
            probe.bind(address)
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(f"cannot listen on {host}, port {port}: {reason}; choose another --port or --host") from None


@contextmanager
def private_gradio() -> Iterator[None]:
    """Set the environment of this process, and of no other, for Gradio: no telemetry, no proxies, uploads deleted.

    Gradio, httpx, huggingface_hub, uvicorn and Matplotlib read the variables that are changed here when they are
    imported. The studio's own options say what it does, and it asks nothing of other machines, so a proxy for these,
    certificates for these, or another Gradio program's settings must not reach it.
    """
    for name in [name for name in os.environ if name.startswith(FOREIGN_VARIABLES) and name != "GRADIO_ROOT_PATH"]:
        del os.environ[name]
    with TemporaryDirectory(prefix="studio_") as folder:
        os.environ.update(
            GRADIO_ANALYTICS_ENABLED="False", HF_HUB_DISABLE_TELEMETRY="1", HF_HUB_OFFLINE="1", GRADIO_TEMP_DIR=folder
        )
        os.environ.update(no_proxy="*", NO_PROXY="*", MPLBACKEND="agg")
        yield


def end_of_process() -> threading.Event:
    """Return an event that Ctrl-C and SIGTERM set from now on; either is how a studio ends."""
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    return ended


if __name__ == "__main__":
    cli.run(main)
