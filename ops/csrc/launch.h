// How the CUDA operators launch their kernels.
#pragma once

#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include "grid.h"

namespace semantic_gan {

// Runs a kernel in so many threads or a few more, on the current stream. The code that chooses kernels gets it as an
// argument, so that it can run without a GPU.
struct Launch {
  template <typename... Parameters, typename... Arguments>
  void operator()(void (*kernel)(Parameters...), int64_t threads, const Arguments&... arguments) const {
    kernel<<<block_count(threads), kThreads, 0, c10::cuda::getCurrentCUDAStream()>>>(arguments...);
    C10_CUDA_KERNEL_LAUNCH_CHECK();
  }
};

}  // namespace semantic_gan
