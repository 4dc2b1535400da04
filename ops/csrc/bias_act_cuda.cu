// bias_act on CUDA: the operators that launch the kernels.
#include <ATen/Dispatch.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/sum.h>
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

// Partial sums of the gradients of bias and strength; undefined if they are not needed or not computed.
struct PartialSums {
  at::Tensor by_channel;  // [parts, channels], or [channels]
  at::Tensor of_noise;    // [blocks]
};

// Writes the gradient of x to `out`, and returns the partial sums if one kernel can compute both.
template <typename T, typename Index>
PartialSums run_backward(const at::Tensor& grad, const at::Tensor& output, at::Tensor& out, const Operands& operands,
                         bool bias_sum, bool noise_sum, double slope, double gain) {
  using A = Wide<T>;
  const T* gradients = grad.const_data_ptr<T>();
  const T* outputs = output.const_data_ptr<T>();
  T* results = out.mutable_data_ptr<T>();
  const auto count = static_cast<Index>(out.numel());
  const Launch launch;
  const auto shift = operands.shift<A, Index>();
  const bool packed = aligned(gradients) && aligned(outputs) && aligned(results);
  Cut cut{Order::kMixed, 0, 0};
  if ((bias_sum || noise_sum) && packed) cut = cut_for_sums<T>(count, shift, launch.multiprocessors());
  if (cut.blocks == 0) {
    launch_bias_act_backward<T, Index>(launch, gradients, outputs, results, count, slope, gain);
    return {};
  }
  const auto options = out.options().dtype(wide_type(out));
  const int64_t channels = shift.channels.value();
  PartialSums sums;
  if (bias_sum && cut.parts == 1) sums.by_channel = at::empty({channels}, options);
  if (bias_sum && cut.parts > 1) sums.by_channel = at::empty({cut.parts, channels}, options);
  if (noise_sum) sums.of_noise = at::empty({cut.blocks}, options);
  const auto pointer = [](at::Tensor& tensor) { return tensor.defined() ? tensor.mutable_data_ptr<A>() : nullptr; };
  launch_bias_act_sums<T, Index>(launch, cut, gradients, outputs, results, count, shift,
                                 {pointer(sums.by_channel), pointer(sums.of_noise)}, slope, gain);
  return sums;
}

Gradients bias_act_backward(const at::Tensor& grad, const at::Tensor& output, const MaybeTensor& noise, bool bias_sum,
                            int64_t dim, double slope, double gain) {
  const c10::cuda::CUDAGuard guard(grad.device());
  at::Tensor out = at::empty_like(output);
  PartialSums sums;
  if (out.numel() > 0) {
    const at::Tensor gradients = ordered_like(grad, out);
    const at::Tensor activated = ordered_like(output, out);
    const bool noise_sum = noise && pixels_are_neighbours(out);
    const Operands operands(out, {}, noise_sum ? noise : MaybeTensor(), {}, dim, bias_sum);
    AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, grad.scalar_type(), "bias_act_backward", [&] {
      const auto run = fits_32_bits(out.numel()) ? run_backward<scalar_t, int32_t> : run_backward<scalar_t, int64_t>;
      sums = run(gradients, activated, out, operands, bias_sum, noise_sum, slope, gain);
    });
  }
  at::Tensor grad_bias = sums.by_channel, grad_strength = sums.of_noise;
  if (!bias_sum) {
    grad_bias = no_gradient(out);
  } else if (!grad_bias.defined()) {
    grad_bias = sum_by_channel(out, dim);
  } else if (grad_bias.dim() == 2) {
    grad_bias = at::sum(grad_bias, {0});
  }
  if (!noise) {
    grad_strength = no_gradient(out);
  } else if (!grad_strength.defined()) {
    grad_strength = sum_of_noise(out, *noise);
  } else if (grad_strength.size(0) > 1) {
    grad_strength = at::sum(grad_strength, {0}, /*keepdim=*/true);
  }
  return {out, grad_bias, grad_strength};
}

}  // namespace

TORCH_LIBRARY_IMPL(semantic_gan, CUDA, library) {
  library.impl("bias_act", &bias_act);
  library.impl("bias_act_backward", &bias_act_backward);
}

}  // namespace semantic_gan
