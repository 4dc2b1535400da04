// The choice between the CUDA kernels of upfirdn2d. No torch includes.
#pragma once

#include "grid.h"
#include "upfirdn2d.cuh"
#include "upfirdn2d_tiles.cuh"

namespace semantic_gan {

template <typename Index>
Axis<Index> narrowed(const Axis<long long>& axis) {
  const auto narrow = [](long long value) { return static_cast<Index>(value); };
  return {narrow(axis.size), narrow(axis.out_size), narrow(axis.taps),
          narrow(axis.up),   narrow(axis.down),     narrow(axis.before)};
}

template <typename T, typename Index, typename Launch>
void launch_any_upfirdn2d(const Launch& launch, const T* x, const Wide<T>* filter, T* out,
                          const Images<long long>& images, bool separable, bool flip, double gain) {
  const Images<Index> narrow{narrowed<Index>(images.vertical), narrowed<Index>(images.horizontal),
                             static_cast<Index>(images.batch), static_cast<Index>(images.channels),
                             images.channels_last};
  const Index planes = narrow.batch * narrow.channels;
  const Index count = planes * narrow.vertical.out_size * narrow.horizontal.out_size;
  launch(upfirdn2d_kernel<T, Index>, count, x, filter, out, narrow, separable, flip, static_cast<Wide<T>>(gain));
}

// Chooses a kernel and calls launch(kernel, threads, arguments...). Requires at least one output. Returns true if the
// addend, which may be null, has been added.
template <typename T, typename Launch>
bool launch_upfirdn2d(const Launch& launch, const T* x, const Wide<T>* filter, const T* addend, T* out,
                      const Images<long long>& images, bool separable, bool flip, double gain) {
  Outcome outcome = Outcome::kNone;
  if (separable) outcome = launch_upfirdn2d_tiles(launch, x, filter, addend, out, images, flip, gain);
  if (outcome != Outcome::kNone) return addend == nullptr || outcome == Outcome::kAdded;
  const Axis<long long>&vertical = images.vertical, &horizontal = images.horizontal;
  const long long planes = images.batch * images.channels;
  const bool narrow = fits_32_bits(planes * vertical.size * horizontal.size) &&
                      fits_32_bits(planes * vertical.out_size * horizontal.out_size);
  const auto run = narrow ? launch_any_upfirdn2d<T, int, Launch> : launch_any_upfirdn2d<T, long long, Launch>;
  run(launch, x, filter, out, images, separable, flip, gain);
  return addend == nullptr;
}

}  // namespace semantic_gan
