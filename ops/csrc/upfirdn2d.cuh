// The CUDA kernel of upfirdn2d for any filter and any factors. No torch includes: T is any type that converts to and
// from Wide<T>, the type of the sums; Index is an integer type wide enough for twice the number of elements.
#pragma once

#include "upfirdn2d.h"
#include "wide.h"

namespace semantic_gan {

template <typename Index>
struct Images {
  Axis<Index> vertical;
  Axis<Index> horizontal;
  Index batch;
  Index channels;
  bool channels_last;  // memory format of the input and the output
};

template <typename Index>
struct Position {
  Index image;
  Index channel;
  Index row;
  Index column;
};

// Adjacent threads compute adjacent elements in memory.
template <typename Index>
SEMANTIC_GAN_HOST_DEVICE Position<Index> output_position(const Images<Index>& images, Index i) {
  const Index height = images.vertical.out_size, width = images.horizontal.out_size, channels = images.channels;
  if (images.channels_last) {
    return {i / channels / width / height, i % channels, i / channels / width % height, i / channels % width};
  }
  return {i / width / height / channels, i / width / height % channels, i / width % height, i % width};
}

template <typename Index>
SEMANTIC_GAN_HOST_DEVICE Index input_index(const Images<Index>& images, const Position<Index>& at) {
  const Index height = images.vertical.size, width = images.horizontal.size;
  if (images.channels_last) return ((at.image * height + at.row) * width + at.column) * images.channels + at.channel;
  return ((at.image * images.channels + at.channel) * height + at.row) * width + at.column;
}

// x and out are [N, C, H, W] in the memory format of `images`; the filter is [fh, fw], or [f] if separable.
template <typename T, typename Index>
__global__ void upfirdn2d_kernel(const T* __restrict__ x, const Wide<T>* __restrict__ filter, T* __restrict__ out,
                                 Images<Index> images, bool separable, bool flip, Wide<T> gain) {
  using A = Wide<T>;
  const Axis<Index> vertical = images.vertical, horizontal = images.horizontal;
  const Index count = images.batch * images.channels * vertical.out_size * horizontal.out_size;
  const Index pitch = images.channels_last ? images.channels : 1;
  const Index step = Index(gridDim.x) * blockDim.x;
  for (Index i = Index(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += step) {
    const Position<Index> at = output_position(images, i);
    const Window<Index> rows = window(vertical, at.row), columns = window(horizontal, at.column);
    A sum = A(0);
    for (Index k = 0; k < rows.count; ++k) {
      const Index row_weight = weight_at(rows.tap + k * vertical.up, vertical.taps, flip);
      const A* weights = separable ? filter : filter + row_weight * horizontal.taps;
      const T* source = x + input_index(images, {at.image, at.channel, rows.input + k, columns.input});
      A row_sum = A(0);
      for (Index l = 0; l < columns.count; ++l) {
        const Index weight = weight_at(columns.tap + l * horizontal.up, horizontal.taps, flip);
        row_sum += weights[weight] * static_cast<A>(source[l * pitch]);
      }
      sum += separable ? filter[row_weight] * row_sum : row_sum;
    }
    out[i] = static_cast<T>(sum * gain);
  }
}

}  // namespace semantic_gan
