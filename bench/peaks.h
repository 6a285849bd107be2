#pragma once

#include <chrono>
#include <string>

#include "headscope/threads.h"
#include "kernels/isa.h"

namespace headscope::bench {

/// Seconds that `body` takes, the best of `times`.
template <typename F>
double seconds(F&& body, int times = 5) {
  double best = 1e30;
  for (int n = 0; n < times; ++n) {
    const auto start = std::chrono::steady_clock::now();
    body();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    best = took.count() < best ? took.count() : best;
  }
  return best;
}

/// flop/s of independent f32 FMAs on all threads: what shares are of. Measured in this run.
inline double fma_peak() {
  const int n = threads();
  double flop = 0.0;
  const double took = seconds(
      [&] {
        parallel_for(n, [&](std::int64_t i) {
          const double done = kernels::table().fma_peak(30'000'000);
          if (i == 0) flop = done;  // the same for every thread
        });
      },
      5);
  return flop * n / took;
}

}  // namespace headscope::bench
