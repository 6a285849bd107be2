#pragma once

#include <cstdint>
#include <string_view>

namespace headscope::kernels {

/// Some heads of one token that turn together: they share cos and sin.
struct TurnTask {
  float* x;             ///< the first head
  std::int64_t heads;   ///< how many
  std::int64_t stride;  ///< from one head to the next, in numbers
  const float* cos;     ///< [pairs]
  const float* sin;     ///< [pairs]
  std::int64_t pairs;
  bool neighbours;  ///< pairs (2m, 2m+1), else (m, m + pairs)
};

/// What `split` does to heads, for one instruction set. Serial and noexcept like the bodies of Table.
struct HeadBodies {
  /// (a, b) becomes (a cos - b sin, b cos + a sin).
  void (*turn)(const TurnTask& task) noexcept;
  /// y = x / sqrt(mean(x^2) + eps) * weight over n numbers; weight may be nullptr, y may be x.
  void (*rms_norm)(
      const float* x, const float* weight, float eps, std::int64_t n, float* y) noexcept;
};

/// The bodies that go with the table of that name: "scalar" is the reference in double precision; a
/// table without bodies of its own here gets the best that this machine runs.
HeadBodies head_bodies(std::string_view table);

}  // namespace headscope::kernels
