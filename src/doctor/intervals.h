#pragma once

#include <cstdint>
#include <span>

namespace headscope::doctor {

/// A mean and where it lies with 95 % when other texts of the kind had been taken.
struct Interval {
  double mean = 0.0, low = 0.0, high = 0.0;
};

/// Bootstrap over values, percentiles of `samples` means (Efron 1979); one value gives no interval: low = high = mean.
Interval bootstrap(std::span<const double> values, int samples = 2000, std::uint64_t seed = 1);

}  // namespace headscope::doctor
