#include "headscope/forecast.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "headscope/error.h"
#include "headscope/generate.h"

namespace headscope {

namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

// Where `part` of the sorted numbers lie below, between neighbours in a straight line.
double quantile(const std::vector<double>& sorted, double part) {
  if (sorted.empty()) return kNone;
  const double at = part * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(at);
  const std::size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (at - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

void check(const Model& model, const ForecastOptions& o) {
  // At least half of the positions are for what is known.
  const std::int64_t most = model.positions() / 2;
  if (o.rows >= 1 && o.rows <= most && o.paths >= 1 && o.paths <= 4096 && o.inside > 0.0 &&
      o.inside < 1.0) {
    return;
  }
  throw Error(ErrorCode::kRange,
              fmt::format("[forecast] expected 1..{} rows and 1..4096 paths, found {} and {}",
                          most,
                          o.rows,
                          o.paths));
}

// The power of two that numbers are told in, which changes none of their digits: squares and sums
// of the largest doubles would be infinities.
double unit_of(std::span<const double> values) {
  double most = 0.0;
  for (const double x : values) most = std::isfinite(x) ? std::max(most, std::abs(x)) : most;
  return most > 0.0 ? std::ldexp(1.0, std::ilogb(most)) : 1.0;
}

std::vector<double> in_units(std::span<const double> values, double unit) {
  std::vector<double> out(values.begin(), values.end());
  for (double& x : out) x /= unit;
  return out;
}

// The numbers less the straight line through them; what is missing lies on it.
std::vector<double> without_line(std::span<const double> values) {
  double n = 0.0, t = 0.0, y = 0.0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (!std::isfinite(values[i])) continue;
    n += 1.0;
    t += (static_cast<double>(i) - t) / n;
    y += (values[i] - y) / n;
  }
  double both = 0.0, square = 0.0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (!std::isfinite(values[i])) continue;
    const double away = static_cast<double>(i) - t;
    both += away * (values[i] - y);
    square += away * away;
  }
  const double slope = square > 0.0 ? both / square : 0.0;
  std::vector<double> out;
  for (std::size_t i = 0; i < values.size(); ++i)
    out.push_back(std::isfinite(values[i]) ? values[i] - y - slope * (static_cast<double>(i) - t)
                                           : 0.0);
  return out;
}

}  // namespace

Forecast forecast(const Model& model,
                  const NumberCode& code,
                  std::span<const double> known,
                  const ForecastOptions& o) {
  check(model, o);
  const auto room = static_cast<std::size_t>(model.positions() - 1 - o.rows);
  if (known.size() > room) known = known.last(room);
  if (std::count_if(known.begin(), known.end(), [](double x) { return std::isfinite(x); }) < 2)
    throw Error(ErrorCode::kInput, "[forecast] expected two numbers or more, found fewer");
  const Spread spread = spread_of(known, code);
  std::vector<std::int32_t> ids{code.start};
  for (const double x : known) ids.push_back(id_of(x, spread, code));
  GenerateOptions options;
  options.sampling.temperature = 1.0F;
  options.sampling.seed = o.seed;
  options.most = o.rows;
  options.stop_at_end = false;
  const auto paths = static_cast<std::size_t>(o.paths);
  Generator generator(model, options, paths);
  for (std::size_t n = 0; n < paths; ++n) generator.read(ids, n);
  while (generator.step()) {
  }
  Forecast out;
  for (std::int64_t row = 0; row < o.rows; ++row) {
    std::vector<double> values;
    for (std::size_t n = 0; n < paths; ++n) {
      const auto& answer = generator.answer(n);
      if (row >= static_cast<std::int64_t>(answer.size())) continue;
      const double x = value_of(answer[static_cast<std::size_t>(row)], spread, code);
      if (std::isfinite(x)) values.push_back(x);
    }
    std::sort(values.begin(), values.end());
    out.middle.push_back(quantile(values, 0.5));
    out.low.push_back(quantile(values, 0.5 - o.inside / 2));
    out.high.push_back(quantile(values, 0.5 + o.inside / 2));
  }
  return out;
}

std::int64_t period_of(std::span<const double> values) {
  constexpr double kLeast = 0.2;
  const std::vector<double> x = without_line(in_units(values, unit_of(values)));
  const std::size_t n = x.size();
  double all = 0.0;
  for (const double v : x) all += v * v;
  // Of a straight line only rounding is left.
  constexpr double kRounding = 1e-12;
  if (n < 6 || !(all > static_cast<double>(n) * kRounding * kRounding)) return 1;
  // Sums, not means: longer lags have fewer terms and must not win by chance.
  std::vector<double> like(n / 2 + 2, 0.0);
  for (std::size_t lag = 0; lag < like.size() && lag < n; ++lag) {
    for (std::size_t i = lag; i < n; ++i) like[lag] += x[i] * x[i - lag] / all;
  }
  std::size_t best = 0;
  for (std::size_t lag = 2; lag + 1 < like.size(); ++lag) {
    const bool peak = like[lag] > like[lag - 1] && like[lag] >= like[lag + 1];
    if (peak && like[lag] > kLeast && (best == 0 || like[lag] > like[best])) best = lag;
  }
  return best == 0 ? 1 : static_cast<std::int64_t>(best);
}

std::vector<double> one_period_ago(std::span<const double> known,
                                   std::int64_t period,
                                   std::int64_t rows) {
  double last = kNone;
  for (const double x : known) last = std::isfinite(x) ? x : last;
  if (!std::isfinite(last))
    throw Error(ErrorCode::kInput, "[forecast] expected a number, found none");
  const auto n = static_cast<std::int64_t>(known.size());
  period = std::clamp<std::int64_t>(period, 1, n);
  std::vector<double> out;
  for (std::int64_t row = 0; row < rows; ++row) {
    const double x = known[static_cast<std::size_t>(n - period + row % period)];
    out.push_back(std::isfinite(x) ? x : last);
  }
  return out;
}

double mean_error(std::span<const double> a, std::span<const double> b) {
  const double unit = std::max(unit_of(a), unit_of(b));
  double sum = 0.0;
  std::int64_t n = 0;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    if (!std::isfinite(a[i]) || !std::isfinite(b[i])) continue;
    sum += std::abs(a[i] / unit - b[i] / unit);
    ++n;
  }
  return n > 0 ? sum / static_cast<double>(n) * unit : kNone;
}

}  // namespace headscope
