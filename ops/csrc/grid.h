// How many threads the CUDA kernels run in, and how far 32-bit indices reach. No torch includes.
#pragma once

namespace semantic_gan {

constexpr int kThreads = 256;  // of a block

// Enough blocks for so many threads; where a grid takes no more, the kernels' loops do the rest.
inline int block_count(long long threads) {
  constexpr long long kLimit = 1 << 30;
  const long long blocks = (threads + kThreads - 1) / kThreads;
  return static_cast<int>(blocks < 1 ? 1 : blocks > kLimit ? kLimit : blocks);
}

// The same for a kernel whose blocks each leave something behind that has to be read again: no more of them than keep a
// GPU of so many multiprocessors busy.
inline int most_blocks(int multiprocessors) { return 8 * multiprocessors; }

// 32-bit indices are faster; with this limit a grid-wide step past the last element still fits.
inline bool fits_32_bits(long long elements) { return elements < (1LL << 30); }

}  // namespace semantic_gan
