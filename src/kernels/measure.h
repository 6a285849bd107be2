#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <vector>

#include "headscope/tensor.h"
#include "kernels/peaks.h"

/// What benchmarks measure with; bench/ and `headscope bench` share it.
namespace headscope::kernels {

/// Seconds on a clock that never steps back.
inline double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// How long to repeat.
struct Repeat {
  double seconds = 0.5;  ///< go on until this much has passed
  int least = 3;         ///< but not fewer times than this,
  int most = 200;        ///< nor more
};

/// Median of the seconds that `body` takes, after one run to warm up. A body that fills the whole time
/// when it warms up is not run again: that run counts.
template <typename F>
double median_seconds(F&& body, const Repeat& repeat) {
  const double start = now();
  body();
  std::vector<double> took{now() - start};
  if (took[0] >= repeat.seconds) return took[0];
  took.clear();
  const double begin = now();
  for (int n = 0; n < repeat.most && (n < repeat.least || now() - begin < repeat.seconds); ++n) {
    const double before = now();
    body();
    took.push_back(now() - before);
  }
  const auto middle = took.begin() + static_cast<std::ptrdiff_t>(took.size() / 2);
  std::nth_element(took.begin(), middle, took.end());
  return *middle;
}

/// One figure and the seconds of the run that gave it.
struct Rate {
  double per_second = 0.0;
  double seconds = 0.0;
};

/// Work a second of a peak on `n` threads at once: the best of five runs of about `seconds` each.
Rate rate_of(const Peak& peak, int n, double seconds = 0.02);

/// flop/s that focus could reach at most on all threads: of f32 FMA for f32. For bf16 the best unit
/// that the table in use may draw on: the fastest table all that the machine has, another one the
/// units in its name. Measured now.
Rate peak_flops(DType dtype, double seconds = 0.02);

/// Memory that no cache holds, to be read.
class DramReader {
 public:
  /// Errors: kResources.
  explicit DramReader(std::size_t bytes = std::size_t{512} << 20);
  /// Bytes a second that `n` threads read together: the best of `times`.
  [[nodiscard]] Rate read(int n, int times = 5) const;

 private:
  struct Unmap {
    std::size_t bytes;
    void operator()(float* p) const;
  };
  std::unique_ptr<float, Unmap> numbers_{nullptr, Unmap{0}};
  std::size_t count_ = 0;
};

}  // namespace headscope::kernels
