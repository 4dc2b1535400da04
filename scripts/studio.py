"""Edit images part by part in the browser: click a part, change it, and save the result.

    python -m scripts.studio                                       the bundled model, at http://127.0.0.1:7860
    python -m scripts.studio --checkpoint CK --port 7861

Needs requirements-studio.txt. Unless --host is given, only this machine can open the page. The studio sends nothing to
other machines. An uploaded photo is inverted, but not stored; inversion starts from the codes that an encoder predicts
or, without an encoder, from the mean code. Each user has a separate edit history, which is kept in memory only.
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

from utils import cli


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = cli.Parser(__doc__)
    add = parser.add_argument
    add("--checkpoint", type=Path, help="a checkpoint of train.py, or a released one (default the bundled model)")
    add("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 allows other machines (default 127.0.0.1)")
    add("--port", type=int, default=7860, help="port to listen on (default 7860)")
    add("--seed", type=int, default=0, help="seed of the first face (default 0)")
    add("--encoder", type=Path, help="file of scripts.train_encoder, for photos (default that of the bundled model)")
    segmenter = "file of scripts.train_segmenter, which guides photos' masks (default that of the bundled model)"
    add("--segmenter", type=Path, help=segmenter)
    add("--controls", type=Path, help="file of scripts.make_controls (default that of the bundled model)")
    add(
        "--keep-specks", action="store_true", help="show masks as generated; otherwise, small specks in them are closed"
    )
    add("--steps", type=cli.positive, default=100, help="steps of a photo's inversion (default 100)")
    add("--device", help="such as cpu or cuda:1 (default cuda where there is a GPU, else cpu)")
    add("--ops", choices=("auto", "native", "compiled"), default="auto", help="kernels (default auto)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    cli.check_command_line(parse)  # before the imports that take seconds

from editing.controls import find_controls
from editing.encoder import load_encoder
from editing.loading import checkpoint_or_bundled, limit_threads, load_model
from editing.photos import training_crop
from metrics.segmenter import segmenter_for
from models.checkpoint import BUNDLED_ENCODER, BUNDLED_SEGMENTER, load_networks
from ops import set_mode
from scripts.studio_page.model import MAX_SEED, StudioModel
from scripts.studio_page.uploads import Uploads
from utils.errors import ConfigError, EditError

MAX_PORT = 65535
# Variables with these prefixes are removed, except GRADIO_ROOT_PATH, which a reverse proxy may need.
FOREIGN_VARIABLES = ("GRADIO_", "HF_", "SSL_CERT_", "WEB_CONCURRENCY", "SPACE_ID")


def main(argv: Sequence[str] | None = None) -> None:
    """Serve the page until Ctrl-C or SIGTERM."""
    args = parse(argv)
    if importlib.util.find_spec("gradio") is None:
        raise EditError("the studio needs Gradio, which is not installed: pip install -r requirements-studio.txt")
    host = args.host.strip("[]")
    check_address(host, args.port)
    host = f"[{host}]" if ":" in host else host  # IPv6 addresses have brackets in URLs
    if not 0 <= args.seed <= MAX_SEED:
        raise ConfigError(f"--seed {args.seed} is out of range: choose 0 to {MAX_SEED}")
    device = cli.usable_device(args.device)
    checkpoint = checkpoint_or_bundled(args.checkpoint)
    generator, classes = load_model(checkpoint, device)
    encoder_path = args.encoder or (None if args.checkpoint else BUNDLED_ENCODER)
    encoder = load_encoder(encoder_path, generator) if encoder_path else None
    segmenter_path, config = args.segmenter or (None if args.checkpoint else BUNDLED_SEGMENTER), generator.config
    segmenter = segmenter_for(segmenter_path, classes.names, config.resolution, checkpoint) if segmenter_path else None
    set_mode(args.ops, device.type)
    limit_threads(generator)
    with isolated_environment():
        from scripts.studio_page.page import launch  # importing Gradio reads the environment

        controls = find_controls(args.controls, generator, is_bundled=args.checkpoint is None)
        model = StudioModel(generator, classes, controls, keep_specks=args.keep_specks)
        uploads = Uploads(model, training_crop(load_networks(checkpoint).contents), args.steps, encoder, segmenter)
        try:
            page = launch(model, uploads, args.seed, host, args.port)
        except OSError:  # another program took the port while the model was loading
            raise ConfigError(f"cannot listen on {host}, port {args.port}; choose another --port or --host") from None
        warm_up = threading.Thread(target=uploads.warm_up)
        warm_up.start()
        stopped = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stopped.set())
        print(f"serving {checkpoint} at http://{host}:{args.port} (press Ctrl-C to stop)", flush=True)
        try:
            stopped.wait()
        finally:
            page.close(verbose=False)
            warm_up.join()  # PyTorch cannot be interrupted
        print("stopped", file=sys.stderr)


def check_address(host: str, port: int) -> None:
    """Raise ConfigError if the port is out of range, or a server cannot listen at the address."""
    if not 1 <= port <= MAX_PORT:
        raise ConfigError(f"--port {port} is out of range: choose 1 to {MAX_PORT}")
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server sets it
            probe.bind(address)
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(f"cannot listen on {host}, port {port}: {reason}; choose another --port or --host") from None


@contextmanager
def isolated_environment() -> Iterator[None]:
    """Set environment variables for Gradio: no telemetry, no proxies, and a temporary folder for uploads.

    Other variables that configure these libraries are removed. Import Gradio inside the context, because Gradio,
    httpx, huggingface_hub, uvicorn and Matplotlib read the variables on import. The folder is deleted at the end.
    """
    for name in [name for name in os.environ if name.startswith(FOREIGN_VARIABLES) and name != "GRADIO_ROOT_PATH"]:
        del os.environ[name]
    with TemporaryDirectory(prefix="studio_") as folder:
        os.environ.update(
            GRADIO_ANALYTICS_ENABLED="False", HF_HUB_DISABLE_TELEMETRY="1", HF_HUB_OFFLINE="1", GRADIO_TEMP_DIR=folder
        )
        os.environ.update(no_proxy="*", NO_PROXY="*", MPLBACKEND="agg")
        yield


if __name__ == "__main__":
    cli.run(main)
