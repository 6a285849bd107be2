#pragma once

#include <cstdint>
#include <vector>

/// Numbers on a line take another count: every new one is a weighted sum of old neighbours.
namespace headscope::media {

/// Which neighbours, and how much of each.
enum class Filter : std::uint8_t {
  kNearest,  ///< number floor(n * from / to), as PyTorch
  kMiddle,   ///< the number under the middle of the new one, as Pillow's nearest
  kLinear,   ///< between the two nearest
  kCubic,    ///< between the four nearest, a = -0.75 (as PyTorch without antialias)
  // These widen when numbers get fewer, so that all of them count (as Pillow, PyTorch with antialias).
  kBox,
  kTriangle,      ///< what Pillow calls bilinear
  kHamming,
  kSmoothCubic,  ///< what Pillow calls bicubic, a = -0.5
  kLanczos,
};

/// Weights of new number n: weight(n)[0..count[n]) belong to old numbers first[n], first[n] + 1, ...
struct Taps {
  std::int64_t most = 0;  ///< taps of one number at most
  std::vector<std::int64_t> first, count;
  std::vector<double> weights;  ///< `most` a number

  [[nodiscard]] const double* weight(std::int64_t n) const { return weights.data() + n * most; }
};

/// Beyond the edge the last number goes on, or (filters that widen) there is nothing; weights of a number sum
/// to 1. Positions count from the middle of a number. Both counts are at least 1.
/// Source  Keys 1981 (cubic); Pillow's and PyTorch's documentation for the conventions.
Taps taps(Filter filter, std::int64_t from, std::int64_t to);

}  // namespace headscope::media
