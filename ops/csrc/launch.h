// How the CUDA operators launch their kernels.
#pragma once

#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include "grid.h"

namespace semantic_gan {

// Starts kernels on the current stream. The code that chooses kernels gets it as an argument, so that it can run without
// a GPU.
struct Launch {
  // In so many threads or a few more, each of which works alone.
  template <typename... Parameters, typename... Arguments>
  void operator()(void (*kernel)(Parameters...), int64_t threads, const Arguments&... arguments) const {
    blocks(kernel, block_count(threads), arguments...);
  }

  // In so many blocks, whose threads may wait for each other.
  template <typename... Parameters, typename... Arguments>
  void blocks(void (*kernel)(Parameters...), int count, const Arguments&... arguments) const {
    kernel<<<count, kThreads, 0, c10::cuda::getCurrentCUDAStream()>>>(arguments...);
    C10_CUDA_KERNEL_LAUNCH_CHECK();
  }

  // Of the current device.
  int multiprocessors() const {
    int device = 0, count = 0;
    C10_CUDA_CHECK(cudaGetDevice(&device));
    C10_CUDA_CHECK(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device));
    return count;
  }
};

}  // namespace semantic_gan
