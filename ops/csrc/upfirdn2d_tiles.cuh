// The CUDA kernel of upfirdn2d for separable filters of four taps and the factors of the networks, and the choice of
// its variants. No torch includes: T is any type that converts to and from Wide<T>, the type of the sums.
//
// A thread computes a tile of the output, two columns of several rows, for one pack of channels. It walks down the
// input, filters each row horizontally once, and adds the result to the outputs that use it, which stay in registers
// until they are complete. Adjacent threads read the same cache lines, so shared memory is unnecessary, and odd sizes
// and crops cost nothing.
#pragma once

#include "divisor.h"
#include "grid.h"
#include "pack.h"
#include "upfirdn2d.cuh"
#include "wide.h"

namespace semantic_gan {

constexpr int kTileTaps = 4;
constexpr int kTileColumns = 2;  // a multiple of every UP

// Rows of a tile for packs of N, a multiple of every UP. More rows reuse more loads but need more registers. Packs of 8
// leave registers for 8 rows only if outputs and inputs have the same size.
template <int N, int UP, int DOWN>
constexpr int kTileRows = N == 1 ? 16 : N == 8 && UP == 1 && DOWN == 1 ? 8 : 4;

// Positions inside an image have 32 bits, memory offsets of images 64.
struct Tiles {
  int height;
  int width;
  int out_height;
  int out_width;
  int top;
  int left;
  int pitch;             // elements between columns: 1, or the number of channels for channels_last
  Divisor<int> packs;    // packs between columns
  Divisor<int> columns;  // columns of tiles in an image
  Divisor<int> rows;     // rows of tiles in an image
  int threads;
  bool paired;  // both columns of every tile exist and can be stored at once
};

// The tap through which a tile's output `output` reads the tile's input `input`; out of range if it does not read it.
// PHASE is the number of inserted zeros, 0 or UP - 1, that the tile's first output reads before its first input.
template <int UP, int DOWN, int PHASE>
SEMANTIC_GAN_HOST_DEVICE constexpr int tap_between(int input, int output) {
  return input * UP + PHASE - output * DOWN;
}

// The number of inputs that this many outputs read.
template <int UP, int DOWN, int PHASE>
SEMANTIC_GAN_HOST_DEVICE constexpr int inputs_of(int outputs) {
  return ((outputs - 1) * DOWN + kTileTaps - 1 - PHASE) / UP + 1;
}

// The first input of the tile whose first output is `output`. The division has no remainder.
template <int UP, int DOWN, int PHASE>
SEMANTIC_GAN_HOST_DEVICE int first_input(int output, int before) {
  return (output * DOWN - before + PHASE) / UP;
}

// Hides the origin of a pointer to global memory from the compiler. It then keeps the pointer in registers instead of
// recomputing the address of each access, and does not move loads far ahead of stores, which would need more registers.
template <typename T>
SEMANTIC_GAN_HOST_DEVICE void forget_origin(T*& pointer) {
#if defined(__CUDA_ARCH__)
  size_t address = __cvta_generic_to_global(pointer);
  asm("" : "+l"(address));
  pointer = static_cast<T*>(__cvta_global_to_generic(address));
#endif
}

// True if tiles inside the image, which most are, have separate code without conditions on rows. This pays off where an
// instruction moves few bytes.
template <typename T, int UP, int DOWN, bool CHANNELS_LAST>
constexpr bool kSplitTiles = !CHANNELS_LAST && UP == 1 && DOWN == 1 && sizeof(T) == 2;

// Minimum number of resident blocks per multiprocessor, which limits the registers; 0 leaves it to the compiler.
template <typename T, int UP, int DOWN, bool CHANNELS_LAST, int N>
constexpr int kTileBlocks = kSplitTiles<T, UP, DOWN, CHANNELS_LAST> ? 3 : N == 8 && UP == 1 ? 2 : 0;

template <typename T, int UP, int DOWN, int PHASE, bool CHANNELS_LAST, int N, bool ADDEND>
struct Tile {
  using A = Wide<T>;
  static constexpr int kRows = kTileRows<N, UP, DOWN>;
  static constexpr int kInputRows = inputs_of<UP, DOWN, PHASE>(kRows);
  static constexpr int kInputColumns = inputs_of<UP, DOWN, PHASE>(kTileColumns);
  static constexpr bool kSplit = kSplitTiles<T, UP, DOWN, CHANNELS_LAST>;
  // Number of rows that are loaded before the first one is used, to have enough loads in flight.
  static constexpr int kAtOnce = N == 1 ? (kSplit ? 4 : 6) * UP / DOWN : 1;

  const T* source;  // the tile's first input; only inputs inside the image are read
  T* target;        // its first output
  const T* addend;  // added to the outputs; only with ADDEND
  int pitch;        // elements between columns
  int first_row;    // row of the first input
  int height;       // height of the input image
  int rows_left;    // output rows from the tile's first one to the end of the image
  int columns_left;
  int input_pitch;  // elements between rows
  long long output_pitch;
  bool inside[kInputColumns];
  A taps[kTileTaps];
  A scaled_taps[kTileTaps];

  // Filters one input row horizontally.
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

  // Stores one output row, as far as it is inside the image.
  template <bool WHOLE, bool PAIRED>
  SEMANTIC_GAN_HOST_DEVICE void store_row(int row, const Pack<A, N> (&sums)[kTileColumns]) const {
    if (!WHOLE && row >= rows_left) return;
    constexpr int kStores = PAIRED ? 1 : kTileColumns, kStored = kTileColumns * N / kStores;
    Pack<T, kTileColumns * N> added, values;
    if constexpr (ADDEND) {
#pragma unroll
      for (int s = 0; s < kStores; ++s) {
        const long long offset = row * output_pitch + s * pitch;
        const Pack<T, kStored> loaded = load_if<kStored>(PAIRED || s < columns_left, addend + offset);
#pragma unroll
        for (int i = 0; i < kStored; ++i) added.at[s * kStored + i] = loaded.at[i];
      }
    }
#pragma unroll
    for (int i = 0; i < kTileColumns * N; ++i) {
      A sum = sums[i / N].at[i % N];
      if constexpr (ADDEND) sum += static_cast<A>(added.at[i]);
      values.at[i] = static_cast<T>(sum);
    }
#pragma unroll
    for (int s = 0; s < kStores; ++s) {
      const long long offset = row * output_pitch + s * pitch;
      if (PAIRED || s < columns_left) store(target + offset, part<kStored>(values, s));
    }
  }

  // Adds the filtered input row r to the outputs that use it, and stores those that are complete.
  template <bool WHOLE, bool PAIRED>
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
      if (tap + UP >= kTileTaps) store_row<WHOLE, PAIRED>(k, sums[k]);
    }
  }

  // Computes the tile. WHOLE: all of its rows exist. PAIRED: all of its columns exist and can be stored at once.
  template <bool WHOLE, bool PAIRED>
  SEMANTIC_GAN_HOST_DEVICE void make_as() const {
    Pack<A, N> sums[kRows][kTileColumns] = {};
    const T* row = source;
    if (N == 1) forget_origin(row);
#pragma unroll
    for (int start = 0; start < kInputRows; start += kAtOnce) {
      Pack<T, N> values[kAtOnce][kInputColumns];
#pragma unroll
      for (int r = start; r < start + kAtOnce && r < kInputRows; ++r) {
        const bool exists = WHOLE || (first_row + r >= 0 && first_row + r < height);
#pragma unroll
        for (int j = 0; j < kInputColumns; ++j) values[r - start][j] = load_if<N>(exists && inside[j], row + j * pitch);
        row += input_pitch;
        if (N == 1) forget_origin(row);
      }
#pragma unroll
      for (int r = start; r < start + kAtOnce && r < kInputRows; ++r) {
        Pack<A, N> filtered[kTileColumns];
        filter_row(values[r - start], filtered);
        add<WHOLE, PAIRED>(r, filtered, sums);
      }
    }
  }

  template <bool PAIRED>
  SEMANTIC_GAN_HOST_DEVICE void make() const {
    if constexpr (kSplit) {
      const bool whole = first_row >= 0 && first_row + kInputRows <= height && rows_left >= kRows;
      if (whole) return make_as<true, PAIRED>();
    }
    make_as<false, PAIRED>();
  }
};

// x, addend and out are images [H, W, pitch].
template <typename T, int UP, int DOWN, int PHASE, bool CHANNELS_LAST, int N, bool ADDEND>
__global__ void __launch_bounds__(kThreads, (kTileBlocks<T, UP, DOWN, CHANNELS_LAST, N>))
    upfirdn2d_tiles_kernel(const T* __restrict__ x, const Wide<T>* __restrict__ filter, const T* __restrict__ addend,
                           T* __restrict__ out, Tiles tiles, bool flip, Wide<T> gain) {
  const int thread = blockIdx.x * blockDim.x + threadIdx.x;
  if (thread >= tiles.threads) return;
  const Division<int> pack = tiles.packs.divide(thread);
  const Division<int> tile_column = tiles.columns.divide(pack.quotient);
  const Division<int> tile_row = tiles.rows.divide(tile_column.quotient);
  const long long image = tile_row.quotient;
  const int offset = pack.remainder * N;
  const int out_column = tile_column.remainder * kTileColumns;
  const int out_row = tile_row.remainder * kTileRows<N, UP, DOWN>;
  const int column = first_input<UP, DOWN, PHASE>(out_column, tiles.left);

  Tile<T, UP, DOWN, PHASE, CHANNELS_LAST, N, ADDEND> tile;
  tile.pitch = CHANNELS_LAST ? tiles.pitch : 1;
  tile.first_row = first_input<UP, DOWN, PHASE>(out_row, tiles.top);
  tile.height = tiles.height;
  tile.rows_left = tiles.out_height - out_row;
  tile.columns_left = tiles.out_width - out_column;
  tile.input_pitch = tiles.width * tile.pitch;
  tile.output_pitch = static_cast<long long>(tiles.out_width) * tile.pitch;
  tile.source = x + ((image * tiles.height + tile.first_row) * tiles.width + column) * tile.pitch + offset;
  const long long first = ((image * tiles.out_height + out_row) * tiles.out_width + out_column) * tile.pitch + offset;
  tile.target = out + first;
  tile.addend = ADDEND ? addend + first : nullptr;
#pragma unroll
  for (int j = 0; j < tile.kInputColumns; ++j) tile.inside[j] = column + j >= 0 && column + j < tiles.width;
#pragma unroll
  for (int t = 0; t < kTileTaps; ++t) {
    tile.taps[t] = filter[weight_at(t, kTileTaps, flip)];
    tile.scaled_taps[t] = tile.taps[t] * gain;
  }
  if (N == 1 && !CHANNELS_LAST && tiles.paired) {
    tile.template make<true>();
  } else {
    tile.template make<false>();
  }
}

// Returns true if 32-bit indices can hold all rows and columns that a thread accesses or skips, inside and outside the
// image.
inline bool tiles_reach(const Images<long long>& images) {
  const Axis<long long>&vertical = images.vertical, &horizontal = images.horizontal;
  const auto extent = [](const Axis<long long>& axis) {
    return 2 * (axis.out_size + kTileRows<1, 1, 1>) + kTileTaps + (axis.before < 0 ? -axis.before : axis.before);
  };
  const long long pitch = images.channels_last ? images.channels : 1;
  const long long tiles = (vertical.out_size / kTileRows<kPackSize<double>, 1, 2> + 1) * (horizontal.out_size + 1);
  return fits_32_bits(extent(vertical)) && fits_32_bits(extent(horizontal) * pitch) &&
         fits_32_bits(images.batch * images.channels * tiles);
}

// Divides all images into tiles for packs of N channels.
template <int N, int UP, int DOWN>
Tiles tiles_of(const Images<long long>& images, bool paired = false) {
  const auto narrow = [](long long value) { return static_cast<int>(value); };
  const auto parts = [](long long size, int part) { return static_cast<int>((size + part - 1) / part); };
  const Axis<long long>&vertical = images.vertical, &horizontal = images.horizontal;
  const int pitch = images.channels_last ? narrow(images.channels) : 1;
  const int packs = pitch / N;
  const int columns = parts(horizontal.out_size, kTileColumns), rows = parts(vertical.out_size, kTileRows<N, UP, DOWN>);
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

template <typename T, int UP, int DOWN, int PHASE, bool ADDEND, typename Launch>
void launch_tiles(const Launch& launch, const T* x, const Wide<T>* filter, const T* addend, T* out,
                  const Images<long long>& images, bool flip, double gain) {
  constexpr int N = kPackSize<T>;
  const auto run = [&](auto kernel, const Tiles& tiles) {
    launch(kernel, tiles.threads, x, filter, addend, out, tiles, flip, static_cast<Wide<T>>(gain));
  };
  const bool packed = images.channels % N == 0 && aligned(x) && aligned(addend) && aligned(out);
  const bool paired = images.horizontal.out_size % kTileColumns == 0 && aligned(addend) && aligned(out);
  if (!images.channels_last) {
    run(upfirdn2d_tiles_kernel<T, UP, DOWN, PHASE, false, 1, ADDEND>, tiles_of<1, UP, DOWN>(images, paired));
  } else if (packed) {
    run(upfirdn2d_tiles_kernel<T, UP, DOWN, PHASE, true, N, ADDEND>, tiles_of<N, UP, DOWN>(images));
  } else {
    run(upfirdn2d_tiles_kernel<T, UP, DOWN, PHASE, true, 1, ADDEND>, tiles_of<1, UP, DOWN>(images));
  }
}

// The result of a call.
enum class Outcome {
  kNone,      // the case is not supported, and no kernel was launched
  kFiltered,  // the addend, if there is one, has not been added
  kAdded,
};

// Calls launch(kernel, threads, arguments...) with the kernel above if it supports the case; the filter is separable.
// The supported cases include their own transposes. Addends occur with the gradients of downsampling, so that only
// upsampling supports them.
template <typename T, typename Launch>
Outcome launch_upfirdn2d_tiles(const Launch& launch, const T* x, const Wide<T>* filter, const T* addend, T* out,
                               const Images<long long>& images, bool flip, double gain) {
  const Axis<long long>&vertical = images.vertical, &horizontal = images.horizontal;
  if (vertical.up != horizontal.up || vertical.down != horizontal.down) return Outcome::kNone;
  if (vertical.taps != kTileTaps || horizontal.taps != kTileTaps || !tiles_reach(images)) return Outcome::kNone;
  const auto factors_are = [&](int up, int down) { return vertical.up == up && vertical.down == down; };
  const bool odd = vertical.before % 2 != 0, as_odd = odd == (horizontal.before % 2 != 0);
  const T* none = nullptr;
  if (factors_are(1, 1)) {
    launch_tiles<T, 1, 1, 0, false>(launch, x, filter, none, out, images, flip, gain);
  } else if (factors_are(1, 2)) {
    launch_tiles<T, 1, 2, 0, false>(launch, x, filter, none, out, images, flip, gain);
  } else if (factors_are(2, 1) && as_odd) {
    const bool adding = addend != nullptr;
    const auto even_case = adding ? launch_tiles<T, 2, 1, 0, true, Launch> : launch_tiles<T, 2, 1, 0, false, Launch>;
    const auto odd_case = adding ? launch_tiles<T, 2, 1, 1, true, Launch> : launch_tiles<T, 2, 1, 1, false, Launch>;
    (odd ? odd_case : even_case)(launch, x, filter, addend, out, images, flip, gain);
    return Outcome::kAdded;
  } else {
    return Outcome::kNone;
  }
  return Outcome::kFiltered;
}

}  // namespace semantic_gan
