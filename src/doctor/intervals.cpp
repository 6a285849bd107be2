#include "doctor/intervals.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

namespace headscope::doctor {

Interval bootstrap(std::span<const double> values, int samples, std::uint64_t seed) {
  Interval out;
  if (values.empty()) return out;
  const auto n = static_cast<double>(values.size());
  for (const double x : values) out.mean += x / n;
  out.low = out.high = out.mean;
  if (values.size() < 2) return out;
  std::mt19937_64 random(seed);
  std::vector<double> means;
  for (int s = 0; s < samples; ++s) {
    double sum = 0.0;
    for (std::size_t i = 0; i < values.size(); ++i) sum += values[random() % values.size()];
    means.push_back(sum / n);
  }
  std::sort(means.begin(), means.end());
  const auto at = [&](double share) {
    return means[static_cast<std::size_t>(std::lround(share * static_cast<double>(samples - 1)))];
  };
  out.low = at(0.025);
  out.high = at(0.975);
  return out;
}

}  // namespace headscope::doctor
