import multiprocessing
import os
import shutil
import sys
import time
import warnings
from pathlib import Path

import pytest
import torch

import ops
from ops import _build, _toolchain
from tests.processes import PATIENCE, run_command, spawn


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """An empty cache, a process that has loaded nothing, and sources that compile in a second."""
    sources = tmp_path / "csrc"
    sources.mkdir()
    (sources / "tiny.cpp").write_text("int tiny() { return 1; }\n")
    monkeypatch.setattr(_build, "_SOURCES", sources)
    monkeypatch.setattr(ops, "_loaded", set())
    monkeypatch.setattr(ops, "_failures", {})
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    return sources


@pytest.fixture
def compiler():
    if (reason := _toolchain.missing("cpu")) is not None:
        pytest.skip(reason)


def only_folder(tmp_path):
    (folder,) = (tmp_path / "cache").iterdir()
    return folder


def test_importing_builds_and_probes_nothing():
    script = "import sys, ops; print(ops.backend('cpu'), 'torch.utils.cpp_extension' in sys.modules)"
    result = run_command([sys.executable, "-c", script], capture_output=True)
    assert result.stdout.split() == ["native", "False"]
    assert result.stderr == ""


def test_unknown_mode():
    with pytest.raises(ValueError, match="auto, native or compiled"):
        ops.set_mode("fast")


def test_native_builds_nothing(fresh, tmp_path):
    ops.set_mode("native")
    assert ops.backend("cpu") == "native"
    assert not (tmp_path / "cache").exists()


def test_auto_builds_and_loads(fresh, compiler, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ops.set_mode("auto", "cpu")
    assert ops.backend("cpu") == "compiled"
    assert (only_folder(tmp_path) / "library.so").exists()


def test_pytorch_may_lie_in_a_folder_with_blanks(fresh, compiler, monkeypatch, tmp_path):
    builder = _toolchain.extension_builder()
    link = tmp_path / "with blanks"
    link.symlink_to(builder.TORCH_LIB_PATH)
    monkeypatch.setattr(builder, "TORCH_LIB_PATH", str(link))
    ops.load_compiled("cpu")
    assert ops.backend("cpu") == "compiled"


def test_finished_library_is_only_loaded(fresh, compiler, monkeypatch):
    ops.load_compiled("cpu")
    monkeypatch.setattr(ops, "_loaded", set())
    monkeypatch.setattr(_build, "_compile", None)
    ops.load_compiled("cpu")
    assert ops.backend("cpu") == "compiled"


def test_auto_falls_back_with_one_warning_that_says_why(fresh, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.warns(UserWarning, match="plain PyTorch") as record:
        ops.set_mode("auto", "cpu")
    assert len(record) == 1
    assert "no C++ compiler (no-such-compiler) is on the PATH; install g++ or set CXX" in str(record[0].message)
    assert ops.backend("cpu") == "native"


def test_other_local_ranks_do_not_repeat_the_warning(fresh, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setenv("LOCAL_RANK", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ops.set_mode("auto", "cpu")


def test_compiled_is_an_error_with_the_remedy(fresh, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ops.OpsUnavailable, match=r"install g\+\+ or set CXX, or choose the native operators"):
        ops.set_mode("compiled", "cpu")


def test_devices_without_kernels(fresh):
    with pytest.raises(ops.OpsUnavailable, match="there are no kernels for mps devices"):
        ops.load_compiled("mps")


def test_failed_build_is_reported_in_one_line_and_not_repeated(fresh, compiler, monkeypatch, tmp_path):
    (fresh / "tiny.cpp").write_text("int tiny() { return nonsense; }\n")
    with pytest.raises(ops.OpsUnavailable, match="nonsense") as caught:
        ops.load_compiled("cpu")
    assert "\n" not in str(caught.value)
    assert "nonsense" in (only_folder(tmp_path) / "build.log").read_text()
    monkeypatch.setattr(_build, "_compile", None)
    with pytest.raises(ops.OpsUnavailable, match="nonsense"):
        ops.load_compiled("cpu")


# What PyTorch raises, with the error of nvcc's crt/host_config.h.
REFUSAL = """\
Error building extension 'tiny': [1/2] nvcc -O3 -c tiny.cu -o tiny.cuda.o
FAILED: tiny.cuda.o
In file included from /usr/local/cuda/include/cuda_runtime.h:82,
/usr/local/cuda/include/crt/host_config.h:143:2: error: #error -- unsupported {}The nvcc flag \
'-allow-unsupported-compiler' can be used to override this version check; Use at your own risk.
ninja: build stopped: subcommand failed.
"""
VERSIONS = {
    "GNU version! gcc versions later than 13 are not supported! ": "later than 13 are not supported; set CC=gcc-13 or",
    "clang version! clang version must be less than 18 and greater than 3.2 . ": "greater than 3.2; set CC=gcc-13 or",
}


@pytest.mark.parametrize("version", VERSIONS)
def test_compiler_that_nvcc_refuses(fresh, monkeypatch, tmp_path, version):
    def load(**options):
        raise RuntimeError(REFUSAL.format(version))

    monkeypatch.setattr(_toolchain, "missing", lambda device_type: None)
    monkeypatch.setattr(_toolchain.extension_builder(), "load", load)
    with pytest.raises(ops.OpsUnavailable, match="NVCC_PREPEND_FLAGS='-ccbin g") as caught:
        ops.load_compiled("cuda")
    message = str(caught.value)
    assert VERSIONS[version] in message
    assert "\n" not in message
    assert "own risk" not in message
    assert "own risk" in (only_folder(tmp_path) / "build.log").read_text()


@pytest.mark.parametrize(
    ("name", "value", "works"),
    [("CXX", "c++", False), ("CC", "{}", True), ("NVCC_PREPEND_FLAGS", "-ccbin {}", True)],
)
def test_remedies_for_a_compiler_that_nvcc_refuses(fresh, monkeypatch, tmp_path, name, value, works):
    gcc = shutil.which("gcc")
    if gcc is None or (reason := _toolchain.missing("cuda")) is not None:
        pytest.skip("no gcc" if gcc is None else reason)
    (fresh / "tiny.cu").write_text("__global__ void tiny() {}\n")
    newer = tmp_path / "bin" / "gcc"
    newer.parent.mkdir()
    newer.write_text(f'#!/bin/sh\nexec {gcc} -U__GNUC__ -D__GNUC__=99 "$@"\n')
    newer.chmod(0o755)
    monkeypatch.setenv("PATH", f"{newer.parent}{os.pathsep}{os.environ['PATH']}")
    for variable in ("CC", "CXX", "NVCC_PREPEND_FLAGS", "NVCC_APPEND_FLAGS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv(name, value.format(gcc))
    if works:
        ops.load_compiled("cuda")
        return
    with pytest.raises(ops.OpsUnavailable, match=r"unsupported GNU version!.*set CC"):
        ops.load_compiled("cuda")


def test_failure_of_another_process_counts_for_those_that_waited(fresh, compiler, tmp_path):
    folder = tmp_path / "cache" / _build._recipe("cpu").name
    folder.mkdir(parents=True)
    (folder / "failure.txt").write_text("it failed elsewhere")
    os.utime(folder / "failure.txt", (time.time() + 60, time.time() + 60))
    with pytest.raises(ops.OpsUnavailable, match="it failed elsewhere"):
        ops.load_compiled("cpu")


def test_old_failure_is_tried_again(fresh, compiler, tmp_path):
    folder = tmp_path / "cache" / _build._recipe("cpu").name
    folder.mkdir(parents=True)
    (folder / "failure.txt").write_text("it failed once")
    os.utime(folder / "failure.txt", (0, 0))
    ops.load_compiled("cpu")


def test_locks_left_by_dead_processes(fresh, compiler, tmp_path):
    folder = tmp_path / "cache" / _build._recipe("cpu").name
    (folder / "build").mkdir(parents=True)
    (folder / "lock").write_text("999999999")
    (folder / "build" / "lock").touch()
    started = time.monotonic()
    ops.load_compiled("cpu")
    assert time.monotonic() - started < 60


@pytest.fixture
def lock_owner(tmp_path):
    """A process that holds a lock until it is killed."""
    context = multiprocessing.get_context("forkserver")
    receiver, sender = context.Pipe(duplex=False)
    owner = context.Process(target=_hold_lock, args=(tmp_path / "lock", sender))
    owner.start()
    assert receiver.poll(PATIENCE)
    yield owner
    owner.kill()
    owner.join(PATIENCE)


def _hold_lock(path, sender):
    with _build.exclusive(path, 5):
        sender.send("held")
        time.sleep(PATIENCE)


def test_lock_ends_with_its_owner(tmp_path, lock_owner):
    lock_owner.kill()
    lock_owner.join(PATIENCE)
    with _build.exclusive(tmp_path / "lock", 0.5):
        pass


def test_waiting_ends_and_names_the_owner(tmp_path, lock_owner):
    message = f"process {lock_owner.pid} has held"
    with pytest.raises(TimeoutError, match=message), _build.exclusive(tmp_path / "lock", 0.3):
        pass


def test_concurrent_processes_build_once(fresh, compiler, tmp_path):
    spawn(_load, fresh, tmp_path, processes=3)
    printed = [(tmp_path / f"{rank}.txt").read_text() for rank in range(3)]
    assert [text.splitlines()[-1] for text in printed] == ["compiled"] * 3
    assert sum("a minute or two, only once" in text for text in printed) == 1


def _load(rank, sources, folder):
    os.environ["TORCH_EXTENSIONS_DIR"] = str(folder / "cache")
    _build._SOURCES = sources
    with (folder / f"{rank}.txt").open("w") as sys.stdout:
        sys.stderr = sys.stdout
        ops.load_compiled("cpu")
        print(ops.backend("cpu"))


def test_cache_depends_on_all_that_matters(fresh, compiler, monkeypatch):
    names = [_build._recipe("cpu").name]
    (fresh / "shared.h").write_text("// new")
    names.append(_build._recipe("cpu").name)
    monkeypatch.setattr(torch, "__version__", "9.9.9")
    names.append(_build._recipe("cpu").name)
    monkeypatch.setattr(_toolchain, "cxx_version", lambda: "another compiler")
    names.append(_build._recipe("cpu").name)
    monkeypatch.setattr(_toolchain, "cpu_identity", lambda: "another processor")
    names.append(_build._recipe("cpu").name)
    names.append(_build._recipe("cuda").name)
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", "7.0;8.0")
    names.append(_build._recipe("cuda").name)
    assert len(set(names)) == len(names)


def test_toolkit_of_another_major_version(monkeypatch, tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "include").mkdir()
    (tmp_path / "include" / "cuda_runtime_api.h").touch()
    nvcc = tmp_path / "bin" / "nvcc"
    nvcc.write_text("#!/bin/sh\necho 'Cuda compilation tools, release 12.8, V12.8.93'\n")
    nvcc.chmod(0o755)
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    monkeypatch.setattr(torch.version, "cuda", "13.2")
    monkeypatch.setattr(_toolchain.shutil, "which", lambda name, path=None: name)
    assert "is CUDA 12.8, PyTorch needs CUDA 13.x; set CUDA_HOME to the folder of CUDA 13.x" in _toolchain.missing(
        "cuda"
    )


def test_no_toolkit(monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    monkeypatch.setattr(torch.version, "cuda", "13.2")
    monkeypatch.setattr(_toolchain.shutil, "which", lambda name, path=None: name)
    assert "install CUDA 13 and set CUDA_HOME" in _toolchain.missing("cuda")


def test_torch_without_cuda(monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(_toolchain.shutil, "which", lambda name, path=None: name)
    assert "built without CUDA" in _toolchain.missing("cuda")


def test_toolkit_in_a_folder_with_blanks(monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(_toolchain.shutil, "which", lambda name, path=None: name)
    monkeypatch.setattr(_toolchain, "cuda_home", lambda: Path("/opt/cuda 13"))
    assert "toolkit, /opt/cuda 13, contains spaces; set CUDA_HOME to a symbolic link" in str(_toolchain.missing("cuda"))


def test_toolkit_behind_a_wrapper_script(monkeypatch, tmp_path):
    monkeypatch.delenv("CUDA_HOME", raising=False)
    monkeypatch.delenv("CUDA_PATH", raising=False)
    real = _toolchain.cuda_home()
    if real is None:
        pytest.skip("no CUDA toolkit here")
    wrapper = tmp_path / "bin" / "nvcc"
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/sh\nexec {real / "bin" / "nvcc"} "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{wrapper.parent}{os.pathsep}{os.environ['PATH']}")
    assert shutil.which("nvcc") == str(wrapper)
    assert _toolchain.cuda_home().resolve() == real.resolve()


def test_ninja_of_an_inactive_environment_is_found(monkeypatch):
    monkeypatch.setenv("PATH", os.defpath)
    before = os.environ["PATH"]
    with _toolchain.build_environment():
        assert str(Path(sys.executable).parent) in os.environ["PATH"]
    assert os.environ["PATH"] == before
