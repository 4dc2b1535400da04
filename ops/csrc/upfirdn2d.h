// Which inputs and which filter taps one output of upfirdn2d sees, along one axis.
//
// The signal is made of `size` samples, each followed by up - 1 zeros, with `before` zeros in front (fewer than none
// crops). Output o lays tap t on position o * down + t - before of the zero-inserted signal, where input i lies on
// position i * up. So an output reads consecutive inputs, through taps that are `up` apart.
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
  Index input;  // the first input that is read
  Index tap;    // the tap it is read through
  Index count;  // how many inputs are read
};

template <typename Index>
SEMANTIC_GAN_HOST_DEVICE Index floor_divide(Index numerator, Index denominator) {
  const Index quotient = numerator / denominator;
  return quotient - (numerator % denominator < 0);
}

// The window as if the signal went on for ever on both sides.
template <typename Index>
SEMANTIC_GAN_HOST_DEVICE Window<Index> unbounded_window(const Axis<Index>& axis, Index output) {
  const Index position = output * axis.down - axis.before;
  const Index first = floor_divide(position + axis.up - 1, axis.up);
  const Index last = floor_divide(position + axis.taps - 1, axis.up);
  return {first, first * axis.up - position, last - first + 1};
}

// The window without the inputs that do not exist; its count may be 0.
template <typename Index>
SEMANTIC_GAN_HOST_DEVICE Window<Index> window(const Axis<Index>& axis, Index output) {
  const Window<Index> all = unbounded_window(axis, output);
  const Index first = all.input > 0 ? all.input : 0;
  const Index stop = all.input + all.count < axis.size ? all.input + all.count : axis.size;
  return {first, all.tap + (first - all.input) * axis.up, stop > first ? stop - first : 0};
}

// Where the weight of a tap stands in the filter: a convolution runs through the filter backwards.
template <typename Index>
SEMANTIC_GAN_HOST_DEVICE Index weight_at(Index tap, Index taps, bool flip) {
  return flip ? tap : taps - 1 - tap;
}

}  // namespace semantic_gan
