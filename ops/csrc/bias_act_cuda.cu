// bias_act on CUDA: what stands between torch and the kernels.
#include <ATen/Dispatch.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty_like.h>
#include <torch/library.h>

#include "bias_act.cuh"
#include "bias_act_operands.h"
#include "launch.h"

namespace semantic_gan {
namespace {

template <typename T, typename Index>
void run_forward(const at::Tensor& x, at::Tensor& out, const Operands& operands, double slope, double gain) {
  launch_bias_act<T, Index>(Launch(), x.const_data_ptr<T>(), out.mutable_data_ptr<T>(),
                            static_cast<Index>(out.numel()), operands.shift<Wide<T>, Index>(), slope, gain);
}

at::Tensor bias_act(const at::Tensor& x, const MaybeTensor& bias, const MaybeTensor& noise,
                    const MaybeTensor& strength, int64_t dim, double slope, double gain) {
  const c10::cuda::CUDAGuard guard(x.device());
  at::Tensor out = at::empty_like(x);
  if (out.numel() == 0) return out;
  if (noise && !pixels_are_neighbours(out)) {
    return out.copy_(bias_act(x.contiguous(), bias, noise, strength, dim, slope, gain));
  }
  const at::Tensor source = ordered_like(x, out);
  const Operands operands(out, bias, noise, strength, dim);
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, x.scalar_type(), "bias_act", [&] {
    if (fits_32_bits(out.numel())) {
      run_forward<scalar_t, int32_t>(source, out, operands, slope, gain);
    } else {
      run_forward<scalar_t, int64_t>(source, out, operands, slope, gain);
    }
  });
  return out;
}

template <typename T, typename Index>
void run_backward(const at::Tensor& grad, const at::Tensor& output, at::Tensor& out, double slope, double gain) {
  launch_bias_act_backward<T, Index>(Launch(), grad.const_data_ptr<T>(), output.const_data_ptr<T>(),
                                     out.mutable_data_ptr<T>(), static_cast<Index>(out.numel()), slope, gain);
}

at::Tensor bias_act_backward(const at::Tensor& grad, const at::Tensor& output, double slope, double gain) {
  const c10::cuda::CUDAGuard guard(grad.device());
  at::Tensor out = at::empty_like(grad);
  if (out.numel() == 0) return out;
  const at::Tensor gradients = ordered_like(grad, out);
  const at::Tensor activated = ordered_like(output, out);
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, grad.scalar_type(), "bias_act_backward", [&] {
    if (fits_32_bits(out.numel())) {
      run_backward<scalar_t, int32_t>(gradients, activated, out, slope, gain);
    } else {
      run_backward<scalar_t, int64_t>(gradients, activated, out, slope, gain);
    }
  });
  return out;
}

}  // namespace

TORCH_LIBRARY_IMPL(semantic_gan, CUDA, library) {
  library.impl("bias_act", &bias_act);
  library.impl("bias_act_backward", &bias_act_backward);
}

}  // namespace semantic_gan
