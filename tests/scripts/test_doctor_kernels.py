import pytest

import ops
from ops import _kernels, _toolchain
from scripts import doctor

TILES = "_ZN12semantic_gan22upfirdn2d_tiles_kernelIN3c108BFloat16ELi1ELi1ELi0ELb1ELi8ELb0EEEvPKT_"
SUMS = "_ZN12semantic_gan20bias_act_sums_kernelIdlLNS_5OrderE1ELi2EEEvPKT_"
DEMANGLED = """\
void semantic_gan::upfirdn2d_tiles_kernel<c10::BFloat16, 1, 1, 0, true, 8, false>(c10::BFloat16 const*)
void semantic_gan::bias_act_sums_kernel<double, long, (semantic_gan::Order)1, 2>(double const*)
void semantic_gan::bias_act_sums_kernel<double, long, (semantic_gan::Order)1, 2>(double const*)
"""
# As cuobjdump --dump-resource-usage prints them; the last kernel spills.
RESOURCES = f"""
Fatbin elf code:
================
arch = sm_80
code version = [1,8]

Resource usage:
 Common:
  GLOBAL:28 CONSTANT[4]:224
 Function {TILES}:
  REG:128 STACK:0 SHARED:0 LOCAL:0 CONSTANT[2]:8 CONSTANT[0]:464 TEXTURE:0 SURFACE:0 SAMPLER:0
 Function {SUMS}:
  REG:55 STACK:0 SHARED:8192 LOCAL:0 CONSTANT[0]:468 TEXTURE:0 SURFACE:0 SAMPLER:0

Fatbin elf code:
================
arch = sm_90
code version = [1,8]

Resource usage:
 Common:
  GLOBAL:0
 Function {SUMS}:
  REG:64 STACK:24 SHARED:9216 LOCAL:8 CONSTANT[0]:660 TEXTURE:0 SURFACE:0 SAMPLER:0
"""
# As cuobjdump --dump-sass prints them, with fewer instructions: one early exit, one store behind a condition; a loop.
LOOP = """
        /*0000*/                   S2R R7, SR_TID.X ;                              /* 0x0000000000077919 */
                                                                                   /* 0x000e220000002100 */
        /*0010*/                   STG.E.64 [R2.64], R4 ;                          /* 0x0000000402007986 */
                                                                                   /* 0x000fe2000c101b04 */
        /*0020*/              @!P0 BRA 0x0 ;                                       /* 0xffffffe000008947 */
                                                                                   /* 0x000fea000383ffff */
        /*0030*/                   EXIT ;                                          /* 0x000000000000794d */
                                                                                   /* 0x000fea0003800000 */
        /*0040*/                   BRA 0x40;                                       /* 0xfffffff000007947 */
                                                                                   /* 0x000fc0000383ffff */
        /*0050*/                   NOP;                                            /* 0x0000000000007918 */
                                                                                   /* 0x000fc00000000000 */
"""
CODE = f"""
Fatbin elf code:
================
arch = sm_80

	code for sm_80
	.target	sm_80

		Function : {TILES}
	.headerflags	@"EF_CUDA_SM80 EF_CUDA_VIRTUAL_SM(EF_CUDA_SM80)"
        /*0000*/                   MOV R1, c[0x0][0x28] ;                          /* 0x00000a0000017a02 */
                                                                                   /* 0x000fe40000000f00 */
        /*0010*/               @P0 EXIT ;                                          /* 0x000000000000094d */
                                                                                   /* 0x000fea0003800000 */
        /*0020*/                   BSSY B0, 0x60 ;                                 /* 0x0000003000007945 */
                                                                                   /* 0x000fe20003800000 */
        /*0030*/              @!P5 BRA 0x50 ;                                      /* 0x0000001000005947 */
                                                                                   /* 0x000fea0003800000 */
        /*0040*/               @P1 STG.E.128 [R8.64+0x10], R4 ;                    /* 0x0000100408001986 */
                                                                                   /* 0x000fe2000c101d04 */
        /*0050*/                   BSYNC B0 ;                                      /* 0x0000000000007941 */
                                                                                   /* 0x000fea0003800000 */
        /*0060*/                   STG.E.U16 [R8.64], R6 ;                         /* 0x0000000608007986 */
                                                                                   /* 0x000fe2000c101504 */
        /*0070*/                   EXIT ;                                          /* 0x000000000000794d */
                                                                                   /* 0x000fea0003800000 */
        /*0080*/                   BRA 0x80;                                       /* 0xfffffff000007947 */
                                                                                   /* 0x000fc0000383ffff */
        /*0090*/                   NOP;                                            /* 0x0000000000007918 */
                                                                                   /* 0x000fc00000000000 */
		..........

		Function : {SUMS}
	.headerflags	@"EF_CUDA_SM80"{LOOP}
	code for sm_90

		Function : {SUMS}
	.headerflags	@"EF_CUDA_SM90"{LOOP}"""


@pytest.fixture
def recorded(monkeypatch):
    """A library that has been built, and tools that print what is recorded above."""

    def run(command, text=""):
        return RESOURCES if "--dump-resource-usage" in command else CODE if "--dump-sass" in command else DEMANGLED

    monkeypatch.setattr(_kernels, "_run", run)
    monkeypatch.setattr(_kernels, "_find", lambda *names: names[0])
    monkeypatch.setattr(_toolchain, "missing", lambda device_type: None)
    monkeypatch.setattr(ops, "load_compiled", lambda device_type: None)


def test_resources():
    assert _kernels.parse_resources(RESOURCES) == {
        ("sm_80", TILES): (128, 0, 0, 0),
        ("sm_80", SUMS): (55, 0, 0, 8192),
        ("sm_90", SUMS): (64, 24, 8, 9216),
    }


def test_instructions_without_padding():
    code = _kernels.parse_code(CODE)
    assert {key: len(instructions) for key, instructions in code.items()} == {
        ("sm_80", TILES): 8,
        ("sm_80", SUMS): 4,
        ("sm_90", SUMS): 4,
    }
    assert code["sm_80", TILES][4] == "@P1 STG.E.128 [R8.64+0x10], R4"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("bias_act_kernel<float, int, (semantic_gan::Order)2, 4>", ("bias_act", "float32", "32-bit mixed pack 4")),
        ("bias_act_backward_kernel<c10::Half, long, 8>", ("bias_act_backward", "float16", "64-bit pack 8")),
        ("upfirdn2d_kernel<double, long long>", ("upfirdn2d", "float64", "64-bit")),
        (
            "upfirdn2d_tiles_kernel<c10::BFloat16, 2, 1, 1, false, 1, true>",
            ("upfirdn2d_tiles", "bfloat16", "2,1 phase 1 contiguous pack 1 addend"),
        ),
    ],
)
def test_short_names(name, expected):
    assert _kernels.shorten(f"void semantic_gan::{name}(float const*, semantic_gan::Divisor<int>)") == expected


@pytest.mark.parametrize(
    ("architecture", "registers", "blocks", "occupancy"),
    [
        ("sm_90", 128, 2, 0.25),
        ("sm_90", 129, 1, 0.125),
        ("sm_90", 32, 8, 1.0),
        ("sm_90", 10, 8, 1.0),
        ("sm_86", 32, 6, 1.0),
    ],
)
def test_occupancy(architecture, registers, blocks, occupancy):
    kernel = _kernels.Kernel(architecture, "", "", "", registers, 0, 0, 0, 1)
    assert (kernel.blocks, kernel.occupancy) == (blocks, occupancy)


def test_table(recorded, capsys):
    assert doctor.main(["--kernels"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("3 kernels for sm_80 and sm_90: FAILED: 1 with spills")
    assert lines[0].endswith("at most 128 registers")
    assert max(map(len, lines)) <= 140
    rows = [line.split() for line in lines if line.startswith(("bias_act", "upfirdn2d"))]
    tiles = "upfirdn2d_tiles bfloat16 1,1 phase 0 channels_last pack 8 128 0 0 0 2 25% 8"
    sums = "bias_act_sums float64 64-bit pixels pack 2"
    assert [" ".join(row) for row in rows] == [
        f"{sums} 55 0 0 8192 4 50% 4",
        tiles,
        f"{sums} 64 24 8 9216 4 50% 4",
    ]


def test_no_spills_is_no_failure(recorded, monkeypatch, capsys):
    all_kernels = _kernels.parse_resources(RESOURCES)
    without = {key: (registers, 0, 0, shared) for key, (registers, _, _, shared) in all_kernels.items()}
    monkeypatch.setattr(_kernels, "parse_resources", lambda text: without)
    assert doctor.main(["--kernels"]) == 0
    assert "sm_90: 0 with spills" in capsys.readouterr().out


def test_tool_that_is_missing(recorded, monkeypatch, capsys):
    monkeypatch.setattr(_kernels, "_find", lambda *names: "" if "nvdisasm" in names else names[0])
    assert doctor.main(["--kernels"]) == 0
    remedy = "install it with the CUDA toolkit, or pip install triton"
    expected = f"kernels: cannot be inspected: nvdisasm was not found; {remedy}\n"
    assert capsys.readouterr().out == expected


def test_no_toolkit(monkeypatch, capsys):
    monkeypatch.setenv("CUDA_HOME", "none")
    assert doctor.main(["--kernels"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("kernels: cannot be inspected: ")
    assert told.count("\n") == 1


def test_tool_that_fails(recorded, monkeypatch, capsys):
    def run(command, text=""):
        raise RuntimeError("cuobjdump failed with exit code 255: cuobjdump fatal")

    monkeypatch.setattr(_kernels, "_run", run)
    assert doctor.main(["--kernels"]) == 1
    assert capsys.readouterr().out == "kernels: FAILED: cuobjdump failed with exit code 255: cuobjdump fatal\n"


@pytest.mark.long
def test_kernels_of_this_tree(monkeypatch, capsys):
    """Shares one build with tests/ops/test_gpu.py: both keep the library in the same folder."""
    if (reason := _toolchain.missing("cuda") or _kernels.missing()) is not None:
        pytest.skip(reason)
    monkeypatch.setattr(ops, "_failures", {})
    assert doctor.main(["--kernels"]) == 0
    told = capsys.readouterr().out
    assert " 0 with spills" in told.splitlines()[0]
    assert "bfloat16  1,1 phase 0 channels_last pack 8" in told
