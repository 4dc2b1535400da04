// The CUDA kernel of upfirdn2d for a separable filter of four taps at the factors the networks use, and the choice of
// its variants. No torch includes: T is any type that converts to and from Wide<T>, which the sums are made in.
//
// A thread makes a tile of the output, two columns of some rows, for one pack of channels. It walks down the input,
// filters each row horizontally, once, and adds the result to the outputs that see it, which stay in registers until
// they are complete. Threads that are neighbours in memory read the same lines of the cache, so no shared memory has to
// bring the pieces together, and odd sizes and crops cost nothing.
#pragma once

#include "divisor.h"
#include "grid.h"
#include "pack.h"
#include "upfirdn2d.cuh"
#include "wide.h"

namespace semantic_gan {

constexpr int kTileTaps = 4;
constexpr int kTileColumns = 2;  // a multiple of every UP

// Rows of a tile of packs of N, a multiple of every UP. More of them share what a thread prepares and reads, and take
// more registers.
template <int N>
constexpr int kTileRows = N == 1 ? 16 : 4;

// Positions inside an image take 32 bits, the image's place in memory 64.
struct Tiles {
  int height;
  int width;
  int out_height;
  int out_width;
  int top;
  int left;
  int pitch;             // elements from one column to the next: 1, or for channels_last the number of channels
  Divisor<int> packs;    // from one column to the next
  Divisor<int> columns;  // of tiles in an image
  Divisor<int> rows;     // of tiles in an image
  int threads;
  bool paired;  // whether a pair of columns always exists and can be stored at once
};

// Through which tap output `output` of a tile sees input `input` of those that the tile sees; taps that do not exist
// mean that it does not. PHASE is how many inserted zeros, 0 or UP - 1, the tile's first output sees before an input.
template <int UP, int DOWN, int PHASE>
SEMANTIC_GAN_HOST_DEVICE constexpr int tap_between(int input, int output) {
  return input * UP + PHASE - output * DOWN;
}

// How many inputs so many outputs see.
template <int UP, int DOWN, int PHASE>
SEMANTIC_GAN_HOST_DEVICE constexpr int inputs_of(int outputs) {
  return ((outputs - 1) * DOWN + kTileTaps - 1 - PHASE) / UP + 1;
}

// The first input that a tile sees whose first output is `output`. The division leaves no remainder.
template <int UP, int DOWN, int PHASE>
SEMANTIC_GAN_HOST_DEVICE int first_input(int output, int before) {
  return (output * DOWN - before + PHASE) / UP;
}

template <typename T, int UP, int DOWN, int PHASE, int N>
struct Tile {
  using A = Wide<T>;
  static constexpr int kRows = kTileRows<N>;
  static constexpr int kInputRows = inputs_of<UP, DOWN, PHASE>(kRows);
  static constexpr int kInputColumns = inputs_of<UP, DOWN, PHASE>(kTileColumns);
  // Rows that are read before the first of them is used: enough bytes have to be on their way from memory.
  static constexpr int kAtOnce = N == 1 ? 6 * UP / DOWN : 1;

  const T* source;  // the tile's first input; only what is inside the image is read
  T* target;        // its first output
  int pitch;        // elements from one column to the next
  int first_row;    // of the input
  int height;       // of the input
  int rows_left;    // of the output, from the tile's first on
  int columns_left;
  long long input_pitch;  // elements from one row to the next
  long long output_pitch;
  bool paired;  // whether two columns can be stored at once
  bool inside[kInputColumns];
  A taps[kTileTaps];
  A scaled_taps[kTileTaps];

  // One row of the input, filtered horizontally.
  SEMANTIC_GAN_HOST_DEVICE void filter_row(const Pack<T, N> (&values)[kInputColumns],
                                           Pack<A, N> (&filtered)[kTileColumns]) const {
#pragma unroll
    for (int c = 0; c < kTileColumns; ++c) {
      filtered[c] = {};
#pragma unroll
      for (int j = 0; j < kInputColumns; ++j) {
        const int tap = tap_between<UP, DOWN, PHASE>(j, c);
        if (tap < 0 || tap >= kTileTaps) continue;
#pragma unroll
        for (int e = 0; e < N; ++e) filtered[c].at[e] += taps[tap] * static_cast<A>(values[j].at[e]);
      }
    }
  }

  // One row of the output, as far as it exists.
  SEMANTIC_GAN_HOST_DEVICE void store_row(int row, const Pack<A, N> (&sums)[kTileColumns]) const {
    if (row >= rows_left) return;
    Pack<T, kTileColumns * N> values;
#pragma unroll
    for (int i = 0; i < kTileColumns * N; ++i) values.at[i] = static_cast<T>(sums[i / N].at[i % N]);
    T* first = target + row * output_pitch;
    if (N == 1 && paired) {
      store(first, values);
      return;
    }
#pragma unroll
    for (int c = 0; c < kTileColumns; ++c) {
      if (c < columns_left) store(first + c * pitch, part<N>(values, c));
    }
  }

  // Adds filtered input row r to the outputs that see it, and stores those that are complete.
  SEMANTIC_GAN_HOST_DEVICE void add(int r, const Pack<A, N> (&filtered)[kTileColumns],
                                    Pack<A, N> (&sums)[kRows][kTileColumns]) const {
#pragma unroll
    for (int k = 0; k < kRows; ++k) {
      const int tap = tap_between<UP, DOWN, PHASE>(r, k);
      if (tap < 0 || tap >= kTileTaps) continue;
#pragma unroll
      for (int c = 0; c < kTileColumns; ++c) {
#pragma unroll
        for (int e = 0; e < N; ++e) sums[k][c].at[e] += scaled_taps[tap] * filtered[c].at[e];
      }
      if (tap + UP >= kTileTaps) store_row(k, sums[k]);
    }
  }

  // Reads, filters and stores all of the tile.
  SEMANTIC_GAN_HOST_DEVICE void make() const {
    Pack<A, N> sums[kRows][kTileColumns] = {};
    const T* row = source;
#pragma unroll
    for (int start = 0; start < kInputRows; start += kAtOnce) {
      Pack<T, N> values[kAtOnce][kInputColumns];
#pragma unroll
      for (int r = start; r < start + kAtOnce && r < kInputRows; ++r) {
        const bool exists = first_row + r >= 0 && first_row + r < height;
#pragma unroll
        for (int j = 0; j < kInputColumns; ++j) values[r - start][j] = load_if<N>(exists && inside[j], row + j * pitch);
        row += input_pitch;
      }
#pragma unroll
      for (int r = start; r < start + kAtOnce && r < kInputRows; ++r) {
        Pack<A, N> filtered[kTileColumns];
        filter_row(values[r - start], filtered);
        add(r, filtered, sums);
      }
    }
  }
};

// x and out are images [H, W, pitch].
template <typename T, int UP, int DOWN, int PHASE, bool CHANNELS_LAST, int N>
__global__ void upfirdn2d_tiles_kernel(const T* __restrict__ x, const Wide<T>* __restrict__ filter,
                                       T* __restrict__ out, Tiles tiles, bool flip, Wide<T> gain) {
  const int thread = blockIdx.x * blockDim.x + threadIdx.x;
  if (thread >= tiles.threads) return;
  const Division<int> pack = tiles.packs.divide(thread);
  const Division<int> tile_column = tiles.columns.divide(pack.quotient);
  const Division<int> tile_row = tiles.rows.divide(tile_column.quotient);
  const long long image = tile_row.quotient;
  const int offset = pack.remainder * N;
  const int out_column = tile_column.remainder * kTileColumns;
  const int out_row = tile_row.remainder * kTileRows<N>;
  const int column = first_input<UP, DOWN, PHASE>(out_column, tiles.left);

  Tile<T, UP, DOWN, PHASE, N> tile;
  tile.pitch = CHANNELS_LAST ? tiles.pitch : 1;
  tile.first_row = first_input<UP, DOWN, PHASE>(out_row, tiles.top);
  tile.height = tiles.height;
  tile.rows_left = tiles.out_height - out_row;
  tile.paired = !CHANNELS_LAST && tiles.paired;
  tile.columns_left = tiles.out_width - out_column;
  tile.input_pitch = static_cast<long long>(tiles.width) * tile.pitch;
  tile.output_pitch = static_cast<long long>(tiles.out_width) * tile.pitch;
  tile.source = x + ((image * tiles.height + tile.first_row) * tiles.width + column) * tile.pitch + offset;
  tile.target = out + ((image * tiles.out_height + out_row) * tiles.out_width + out_column) * tile.pitch + offset;
#pragma unroll
  for (int j = 0; j < tile.kInputColumns; ++j) tile.inside[j] = column + j >= 0 && column + j < tiles.width;
#pragma unroll
  for (int t = 0; t < kTileTaps; ++t) {
    tile.taps[t] = filter[weight_at(t, kTileTaps, flip)];
    tile.scaled_taps[t] = tile.taps[t] * gain;
  }
  tile.make();
}

// Whether the kernel's indices reach every row and column that a thread looks at, inside or outside of the image.
inline bool tiles_reach(const Images<long long>& images) {
  const Axis<long long>&vertical = images.vertical, &horizontal = images.horizontal;
  const auto looked_at = [](const Axis<long long>& axis) {
    return 2 * (axis.out_size + kTileRows<1>) + kTileTaps + (axis.before < 0 ? -axis.before : axis.before);
  };
  const long long pitch = images.channels_last ? images.channels : 1;
  const long long tiles = (vertical.out_size / kTileRows<kPackSize<double>> + 1) * (horizontal.out_size + 1);
  return fits_32_bits(looked_at(vertical)) && fits_32_bits(looked_at(horizontal) * pitch) &&
         fits_32_bits(images.batch * images.channels * tiles);
}

// All images in tiles of packs of N channels.
template <int N>
Tiles tiles_of(const Images<long long>& images, bool paired = false) {
  const auto narrow = [](long long value) { return static_cast<int>(value); };
  const auto parts = [](long long size, int part) { return static_cast<int>((size + part - 1) / part); };
  const Axis<long long>&vertical = images.vertical, &horizontal = images.horizontal;
  const int pitch = images.channels_last ? narrow(images.channels) : 1;
  const int packs = pitch / N;
  const int columns = parts(horizontal.out_size, kTileColumns), rows = parts(vertical.out_size, kTileRows<N>);
  const int count = narrow(images.batch * images.channels) / pitch;
  return {narrow(vertical.size),
          narrow(horizontal.size),
          narrow(vertical.out_size),
          narrow(horizontal.out_size),
          narrow(vertical.before),
          narrow(horizontal.before),
          pitch,
          Divisor<int>(packs),
          Divisor<int>(columns),
          Divisor<int>(rows),
          count * rows * columns * packs,
          paired};
}

template <typename T, int UP, int DOWN, int PHASE, typename Launch>
void launch_tiles(const Launch& launch, const T* x, const Wide<T>* filter, T* out, const Images<long long>& images,
                  bool flip, double gain) {
  constexpr int N = kPackSize<T>;
  const auto run = [&](auto kernel, const Tiles& tiles) {
    launch(kernel, tiles.threads, x, filter, out, tiles, flip, static_cast<Wide<T>>(gain));
  };
  const bool packed = images.channels % N == 0 && aligned(x) && aligned(out);
  const bool paired = images.horizontal.out_size % kTileColumns == 0 && aligned(out);
  if (!images.channels_last) {
    run(upfirdn2d_tiles_kernel<T, UP, DOWN, PHASE, false, 1>, tiles_of<1>(images, paired));
  } else if (packed) {
    run(upfirdn2d_tiles_kernel<T, UP, DOWN, PHASE, true, N>, tiles_of<N>(images));
  } else {
    run(upfirdn2d_tiles_kernel<T, UP, DOWN, PHASE, true, 1>, tiles_of<1>(images));
  }
}

// Runs the kernel above by launch(kernel, threads, arguments...) if it covers the case of a separable filter; whether
// it does. The transposes of its cases are among them.
template <typename T, typename Launch>
bool launch_upfirdn2d_tiles(const Launch& launch, const T* x, const Wide<T>* filter, T* out,
                            const Images<long long>& images, bool flip, double gain) {
  const Axis<long long>&vertical = images.vertical, &horizontal = images.horizontal;
  if (vertical.up != horizontal.up || vertical.down != horizontal.down) return false;
  if (vertical.taps != kTileTaps || horizontal.taps != kTileTaps || !tiles_reach(images)) return false;
  const auto factors_are = [&](int up, int down) { return vertical.up == up && vertical.down == down; };
  const bool odd = vertical.before % 2 != 0, as_odd = odd == (horizontal.before % 2 != 0);
  if (factors_are(1, 1)) {
    launch_tiles<T, 1, 1, 0>(launch, x, filter, out, images, flip, gain);
  } else if (factors_are(1, 2)) {
    launch_tiles<T, 1, 2, 0>(launch, x, filter, out, images, flip, gain);
  } else if (factors_are(2, 1) && as_odd && odd) {
    launch_tiles<T, 2, 1, 1>(launch, x, filter, out, images, flip, gain);
  } else if (factors_are(2, 1) && as_odd) {
    launch_tiles<T, 2, 1, 0>(launch, x, filter, out, images, flip, gain);
  } else {
    return false;
  }
  return true;
}

}  // namespace semantic_gan
