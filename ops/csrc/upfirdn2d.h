// The inputs and filter taps that contribute to an output of upfirdn2d, along one axis.
//
// In the zero-inserted signal, input i has position i * up. Tap t of output o reads position o * down + t - before,
// with `before` zeros of padding (negative values crop). An output thus reads consecutive inputs through taps that are
// `up` apart.
#pragma once

#include "host_device.h"

namespace semantic_gan {

template <typename Index>
struct Axis {
  Index size;
  Index out_size;
  Index taps;
  Index up;
  Index down;
  Index before;
};

template <typename Index>
struct Window {
  Index input;  // first input that is read
  Index tap;    // its tap
  Index count;  // number of inputs that are read
};

template <typename Index>
SEMANTIC_GAN_HOST_DEVICE Index floor_divide(Index numerator, Index denominator) {
  const Index quotient = numerator / denominator;
  return quotient - (numerator % denominator < 0);
}

// The window in a signal without ends.
template <typename Index>
SEMANTIC_GAN_HOST_DEVICE Window<Index> unbounded_window(const Axis<Index>& axis, Index output) {
  const Index position = output * axis.down - axis.before;
  const Index first = floor_divide(position + axis.up - 1, axis.up);
  const Index last = floor_divide(position + axis.taps - 1, axis.up);
  return {first, first * axis.up - position, last - first + 1};
}

// The window restricted to existing inputs; its count may be 0.
template <typename Index>
SEMANTIC_GAN_HOST_DEVICE Window<Index> window(const Axis<Index>& axis, Index output) {
  const Window<Index> all = unbounded_window(axis, output);
  const Index first = all.input > 0 ? all.input : 0;
  const Index stop = all.input + all.count < axis.size ? all.input + all.count : axis.size;
  return {first, all.tap + (first - all.input) * axis.up, stop > first ? stop - first : 0};
}

// Index of a tap's weight in the filter, which a convolution reads backwards.
template <typename Index>
SEMANTIC_GAN_HOST_DEVICE Index weight_at(Index tap, Index taps, bool flip) {
  return flip ? tap : taps - 1 - tap;
}

}  // namespace semantic_gan
