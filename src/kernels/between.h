#pragma once

#include <cstdint>
#include <string_view>

#include "kernels/isa.h"

namespace headscope::kernels {

/// What happens to a row between two matrix products, in one pass each. Serial and noexcept like the bodies of Table.
struct BetweenBodies {
  /// to = activation(gate) * up over n numbers; `to` may be `gate` or `up`.
  void (*gate)(
      Activation kind, const float* gate, const float* up, std::int64_t n, float* to) noexcept;
  /// x += more, then y = x / sqrt(mean(x^2) + eps) * weight over n numbers; weight may be nullptr, y is
  /// another row than x and `more`.
  void (*add_rms_norm)(const float* more,
                       const float* weight,
                       float eps,
                       std::int64_t n,
                       float* x,
                       float* y) noexcept;
};

/// The bodies that go with the table of that name: "scalar" is the reference in double precision; a
/// table without bodies of its own here gets the best that this machine runs.
BetweenBodies between_bodies(std::string_view table);

}  // namespace headscope::kernels
