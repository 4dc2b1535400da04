import pytest

from scripts.benchmark import main
from scripts.benchmarks import profile
from utils.errors import ConfigError


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [
        ("void semantic_gan::bias_act_sums_kernel<c10::BFloat16, int>(c10::BFloat16 const*)", "bias_act"),
        ("sm90_xmma_wgrad_indexed_implicit_gemm_bf16bf16_bf16f32_f32_nhwckrsc_nhwc_kernel__5x_cudnn", "products"),
        ("nvjet_sm90_tst_64x512_64x2_1x2_h_badd_coopB_TNT", "products"),
        ("void nhwcAddPaddingKernel<__nv_bfloat16, __nv_bfloat16, float>(int)", "layout"),
        ("void at::native::elementwise_kernel<128, 4, at::native::direct_copy_kernel_cuda(x)>", "copies"),
        ("void at::native::vectorized_elementwise_kernel<8, at::native::CUDAFunctor_add<float>>", "elementwise"),
        ("void at::native::reduce_kernel<128, 4, at::native::ReduceOp<float>>", "sums"),
        ("void at::native::multi_tensor_apply_kernel<at::native::FusedOptimizerTensorListMetadata<4>>", "optimizer"),
        ("something new", "other"),
    ],
)
def test_classes_of_kernels(kernel, expected):
    """Names as the profiler showed them on an H200."""
    assert profile.class_of(kernel) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--device", "cpu"], "profile needs a GPU, but the device is cpu"),
        (["--rounds", "0"], "--rounds 0: give 1 or more"),
        (["training.batch_sise=4"], "did you mean training.batch_size"),
    ],
)
def test_mistakes(arguments, message):
    with pytest.raises(ConfigError, match=message):
        main(["profile", *arguments])
