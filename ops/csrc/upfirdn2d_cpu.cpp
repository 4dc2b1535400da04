// upfirdn2d on the CPU, row by row: the vertical filter writes a weighted sum of input rows to a buffer that fits in
// the L1 cache, and the horizontal filter computes the output row from it.
//
// A row holds `inner` interleaved channels: 1 for contiguous [N, C, H, W], C for channels_last.
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <algorithm>
#include <numeric>
#include <optional>
#include <vector>

#include "layout.h"
#include "upfirdn2d_axes.h"

namespace semantic_gan {
namespace {

constexpr int64_t kGrain = 1 << 14;  // minimum number of output elements per thread

template <typename T>
void add_scaled(const T* __restrict__ x, T weight, T* __restrict__ out, int64_t count) {
  for (int64_t i = 0; i < count; ++i) out[i] += weight * x[i];
}

// Weighted sum of COUNT rows that are `pitch` apart.
template <int COUNT, typename T>
void sum_rows(const T* __restrict__ rows, int64_t pitch, const T* weights, int64_t step, T* __restrict__ out,
              int64_t count) {
  T local[COUNT];
  for (int k = 0; k < COUNT; ++k) local[k] = weights[k * step];
  for (int64_t i = 0; i < count; ++i) {
    T sum = local[0] * rows[i];
    for (int k = 1; k < COUNT; ++k) sum += local[k] * rows[k * pitch + i];
    out[i] = sum;
  }
}

template <typename T>
void filter_vertically(const T* image, int64_t pitch, const Window<int64_t>& rows, const T* weights, int64_t step,
                       T* out) {
  const T* first = image + rows.input * pitch;
  const T* used = weights + rows.tap;
  switch (rows.count) {
    case 2:
      return sum_rows<2>(first, pitch, used, step, out, pitch);
    case 4:
      return sum_rows<4>(first, pitch, used, step, out, pitch);
    default:
      std::fill_n(out, pitch, T(0));
      for (int64_t k = 0; k < rows.count; ++k) add_scaled(first + k * pitch, used[k * step], out, pitch);
  }
}

// The horizontal filter. Outputs that are `period` apart (one phase) use the same taps and read inputs that are
// `stride` apart. Each phase is a loop without conditions, because margins of zeros replace the inputs that do not
// exist.
template <typename T>
class RowFilter {
 public:
  RowFilter(const Axis<int64_t>& axis, int64_t inner) : axis_(axis), inner_(inner) {
    const int64_t common = std::gcd(axis.up, axis.down);
    period_ = axis.up / common;
    stride_ = axis.down / common;
    const Window<int64_t> last = unbounded_window(axis, axis.out_size - 1);
    left_ = std::max<int64_t>(0, -unbounded_window<int64_t>(axis, 0).input);
    right_ = std::max<int64_t>(0, last.input + last.count - axis.size);
  }

  int64_t margin() const { return left_ * inner_; }
  int64_t buffer_size() const { return (left_ + axis_.size + right_) * inner_; }

  // out [out_size, inner] from the buffer, through `taps` weights.
  void apply(const T* buffer, const T* weights, T* out) const {
    const bool even = inner_ == 1 && axis_.taps == 4;
    if (even && period_ == 1 && stride_ == 1 && axis_.up == 1) return apply_fixed<1, 1, 4>(buffer, weights, out);
    if (even && period_ == 2 && stride_ == 1 && axis_.up == 2) return apply_fixed<2, 1, 2>(buffer, weights, out);
    if (even && period_ == 1 && stride_ == 2 && axis_.up == 1) return apply_fixed<1, 2, 4>(buffer, weights, out);
    std::fill_n(out, axis_.out_size * inner_, T(0));
    accumulate(buffer, weights, out);
  }

  // Adds the result to out; works for any factors and any number of taps.
  void accumulate(const T* buffer, const T* weights, T* out) const {
    for (int64_t phase = 0; phase < std::min(period_, axis_.out_size); ++phase) {
      const Window<int64_t> seen = unbounded_window(axis_, phase);
      const int64_t outputs = (axis_.out_size - phase + period_ - 1) / period_;
      for (int64_t k = 0; k < seen.count; ++k) {
        const T* first = buffer + (left_ + seen.input + k) * inner_;
        accumulate_tap(first, weights[seen.tap + k * axis_.up], out + phase * inner_, outputs);
      }
    }
  }

 private:
  // All phases, each with COUNT taps, in one loop over adjacent outputs, which compilers can vectorize.
  template <int PERIOD, int STRIDE, int COUNT>
  void apply_fixed(const T* __restrict__ buffer, const T* weights, T* __restrict__ out) const {
    T local[PERIOD][COUNT];
    const T* first[PERIOD];
    for (int phase = 0; phase < PERIOD; ++phase) {
      const Window<int64_t> seen = unbounded_window<int64_t>(axis_, phase);
      for (int k = 0; k < COUNT; ++k) local[phase][k] = weights[seen.tap + k * axis_.up];
      first[phase] = buffer + left_ + seen.input;
    }
    const auto filtered = [&](int phase, int64_t step) {
      T sum = local[phase][0] * first[phase][step * STRIDE];
      for (int k = 1; k < COUNT; ++k) sum += local[phase][k] * first[phase][step * STRIDE + k];
      return sum;
    };
    const int64_t steps = axis_.out_size / PERIOD;
    for (int64_t step = 0; step < steps; ++step) {
      for (int phase = 0; phase < PERIOD; ++phase) out[step * PERIOD + phase] = filtered(phase, step);
    }
    for (int phase = 0; phase < axis_.out_size % PERIOD; ++phase) out[steps * PERIOD + phase] = filtered(phase, steps);
  }

  void accumulate_tap(const T* __restrict__ first, T weight, T* __restrict__ out, int64_t outputs) const {
    if (inner_ == 1) {
      for (int64_t j = 0; j < outputs; ++j) out[j * period_] += weight * first[j * stride_];
    } else {
      for (int64_t j = 0; j < outputs; ++j) {
        add_scaled(first + j * stride_ * inner_, weight, out + j * period_ * inner_, inner_);
      }
    }
  }

  Axis<int64_t> axis_;
  int64_t inner_;
  int64_t period_;
  int64_t stride_;
  int64_t left_;
  int64_t right_;
};

// Returns the weights of a filter [fh, fw] or [f] in the order of the taps.
template <typename T>
std::vector<T> ordered_weights(const at::Tensor& filter, bool flip) {
  const at::Tensor flat = filter.to(c10::CppTypeToScalarType<T>::value).contiguous();
  const T* stored = flat.template const_data_ptr<T>();
  std::vector<T> weights(flat.numel());
  // Flipping both axes of a matrix reverses its elements in memory.
  for (int64_t i = 0; i < flat.numel(); ++i) weights[i] = stored[weight_at(i, flat.numel(), flip)];
  return weights;
}

template <typename T>
void upfirdn2d_all(const at::Tensor& x, const at::Tensor& filter, at::Tensor& out, const Axis<int64_t>& vertical,
                   const Axis<int64_t>& horizontal, int64_t inner, bool flip, T gain) {
  const bool separable = filter.dim() == 1;
  const std::vector<T> weights = ordered_weights<T>(filter, flip);
  std::vector<T> scaled = weights;
  for (T& weight : scaled) weight *= gain;
  const RowFilter<T> row_filter(horizontal, inner);
  const int64_t pitch = horizontal.size * inner;
  const int64_t out_pitch = horizontal.out_size * inner;
  const T* images = x.const_data_ptr<T>();
  T* out_rows = out.mutable_data_ptr<T>();

  const int64_t grain = std::max<int64_t>(1, kGrain / out_pitch);
  at::parallel_for(0, out.numel() / out_pitch, grain, [&](int64_t begin, int64_t end) {
    std::vector<T> buffer(row_filter.buffer_size(), T(0));
    T* middle = buffer.data() + row_filter.margin();
    for (int64_t row = begin; row < end; ++row) {
      const T* image = images + row / vertical.out_size * vertical.size * pitch;
      const Window<int64_t> rows = window(vertical, row % vertical.out_size);
      T* target = out_rows + row * out_pitch;
      if (separable) {
        filter_vertically(image, pitch, rows, scaled.data(), vertical.up, middle);
        row_filter.apply(buffer.data(), weights.data(), target);
        continue;
      }
      std::fill_n(target, out_pitch, T(0));
      for (int64_t k = 0; k < rows.count; ++k) {
        std::copy_n(image + (rows.input + k) * pitch, pitch, middle);
        const T* row_weights = scaled.data() + (rows.tap + k * vertical.up) * horizontal.taps;
        row_filter.accumulate(buffer.data(), row_weights, target);
      }
    }
  });
}

at::Tensor upfirdn2d(const at::Tensor& x, const at::Tensor& filter, at::IntArrayRef up, at::IntArrayRef down,
                     at::IntArrayRef padding, bool flip, double gain, const std::optional<at::Tensor>& addend) {
  if (x.scalar_type() != at::kFloat && x.scalar_type() != at::kDouble) {
    return upfirdn2d(x.to(at::kFloat), filter, up, down, padding, flip, gain, addend).to(x.scalar_type());
  }
  const at::MemoryFormat format = memory_format_of(x);
  const auto vertical = axis_of<int64_t>(0, x, filter, up, down, padding);
  const auto horizontal = axis_of<int64_t>(1, x, filter, up, down, padding);
  at::Tensor out = at::empty({x.size(0), x.size(1), vertical.out_size, horizontal.out_size}, x.options(), format);
  if (out.numel() == 0) return out;
  const at::Tensor source = x.contiguous(format);
  const int64_t inner = format == at::MemoryFormat::ChannelsLast ? x.size(1) : 1;
  if (x.scalar_type() == at::kDouble) {
    upfirdn2d_all<double>(source, filter, out, vertical, horizontal, inner, flip, gain);
  } else {
    upfirdn2d_all<float>(source, filter, out, vertical, horizontal, inner, flip, gain);
  }
  if (addend) out.add_(*addend);
  return out;
}

}  // namespace

TORCH_LIBRARY_IMPL(semantic_gan, CPU, library) { library.impl("upfirdn2d", &upfirdn2d); }

}  // namespace semantic_gan
