// Launching of CUDA kernels.
#pragma once

#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include "grid.h"

namespace semantic_gan {

// Launches kernels on the current stream. The code that chooses kernels takes this as an argument, so that tests can
// run it without a GPU.
struct Launch {
  // Launches at least `threads` independent threads.
  template <typename... Parameters, typename... Arguments>
  void operator()(void (*kernel)(Parameters...), int64_t threads, const Arguments&... arguments) const {
    blocks(kernel, block_count(threads), arguments...);
  }

  // Launches `count` blocks, whose threads may synchronize.
  template <typename... Parameters, typename... Arguments>
  void blocks(void (*kernel)(Parameters...), int count, const Arguments&... arguments) const {
    kernel<<<count, kThreads, 0, c10::cuda::getCurrentCUDAStream()>>>(arguments...);
    C10_CUDA_KERNEL_LAUNCH_CHECK();
  }

  // Returns the number of multiprocessors of the current device.
  int multiprocessors() const {
    int device = 0, count = 0;
    C10_CUDA_CHECK(cudaGetDevice(&device));
    C10_CUDA_CHECK(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device));
    return count;
  }
};

}  // namespace semantic_gan
