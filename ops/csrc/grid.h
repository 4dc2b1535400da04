// Grid sizes of the CUDA kernels and the range of 32-bit indices. No torch includes.
#pragma once

namespace semantic_gan {

constexpr int kThreads = 256;  // per block

// The number of blocks for this many threads, within the limit of a grid; kernels loop over the rest.
inline int block_count(long long threads) {
  constexpr long long kLimit = 1 << 30;
  const long long blocks = (threads + kThreads - 1) / kThreads;
  return static_cast<int>(blocks < 1 ? 1 : blocks > kLimit ? kLimit : blocks);
}

// The maximum number of blocks of a kernel whose blocks each write a partial result: just enough to keep a GPU busy.
inline int most_blocks(int multiprocessors) { return 8 * multiprocessors; }

// Returns true if 32-bit indices, which are faster, can also hold one grid-wide step past the last element.
inline bool fits_32_bits(long long elements) { return elements < (1LL << 30); }

}  // namespace semantic_gan
