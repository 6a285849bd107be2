#pragma once

#include <cstdint>

namespace headscope::train {

/// How the learning rate goes: up in a straight line, then down.
struct Schedule {
  enum class Kind {
    kConstant,
    kCosine,  ///< down by half a cosine (Loshchilov & Hutter 2017)
    kStable   ///< "wsd": level, then down in a straight line at the end (Hu 2024)
  };
  Kind kind = Kind::kCosine;
  std::int64_t steps = 1000;    ///< of the whole run
  std::int64_t warmup = 0;      ///< steps that go up
  double learning_rate = 1e-3;  ///< the highest
  double final_share = 0.1;     ///< of the highest, at the end
  double decay_share = 0.2;     ///< of the steps that go down (wsd)

  /// Of step 0, 1, ...; from steps on, that of the last.
  [[nodiscard]] double at(std::int64_t step) const;
};

}  // namespace headscope::train
