#include "train/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace headscope::train {

double Schedule::at(std::int64_t step) const {
  if (step < warmup) {
    return learning_rate * static_cast<double>(step + 1) / static_cast<double>(warmup);
  }
  const auto share = [&](std::int64_t from) {
    const std::int64_t length = std::max<std::int64_t>(1, steps - 1 - from);
    return std::clamp(static_cast<double>(step - from) / static_cast<double>(length), 0.0, 1.0);
  };
  switch (kind) {
    case Kind::kConstant:
      return learning_rate;
    case Kind::kCosine: {
      const double down = 0.5 - 0.5 * std::cos(std::numbers::pi * share(warmup));
      return learning_rate * (1.0 - (1.0 - final_share) * down);
    }
    case Kind::kStable: {
      const auto falling =
          static_cast<std::int64_t>(std::llround(decay_share * static_cast<double>(steps)));
      const std::int64_t from = std::max(warmup, steps - falling);
      return step < from ? learning_rate
                         : learning_rate * (1.0 - (1.0 - final_share) * share(from));
    }
  }
  return learning_rate;
}

}  // namespace headscope::train
