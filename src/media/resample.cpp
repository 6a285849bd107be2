// Another rate: band-limited interpolation.
// Source  Smith & Gossett 1984; Kaiser 1974 for the window.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "headscope/audio.h"
#include "headscope/threads.h"

namespace headscope {

namespace {

constexpr int kCrossings = 64;      // of zero on either side of the middle
constexpr int kSteps = 512;         // of the table between two crossings; in between it is a line
constexpr double kKaiser = 8.0;     // 80 dB
constexpr double kPass = 0.945;     // share of the band that passes: its edge falls off before the limit

double bessel0(double x) {
  double sum = 1.0;
  double term = 1.0;
  for (int k = 1; term > sum * 1e-17; ++k) {
    term *= (x / (2.0 * k)) * (x / (2.0 * k));
    sum += term;
  }
  return sum;
}

// sinc(t) under the window, t = 0, 1/kSteps, ...; the last entries are 0.
std::vector<double> windowed_sinc() {
  std::vector<double> table(static_cast<std::size_t>(kCrossings * kSteps) + 2, 0.0);
  for (std::size_t i = 0; i < table.size() - 2; ++i) {
    const double t = static_cast<double>(i) / kSteps;
    const double edge = t / kCrossings;
    const double sinc = i == 0 ? 1.0 : std::sin(std::numbers::pi * t) / (std::numbers::pi * t);
    table[i] = sinc * bessel0(kKaiser * std::sqrt(1.0 - edge * edge)) / bessel0(kKaiser);
  }
  return table;
}

double at(const std::vector<double>& table, double t) {
  const double place = std::abs(t) * kSteps;
  const auto i = static_cast<std::size_t>(place);
  if (i + 1 >= table.size()) return 0.0;
  const double part = place - static_cast<double>(i);
  return table[i] + part * (table[i + 1] - table[i]);
}

void check_rate(int rate) {
  if (rate >= kSlowestRate && rate <= kFastestRate) return;
  throw Error(ErrorCode::kRange,
              fmt::format("[resample] expected {} to {} samples a second, found {}",
                          kSlowestRate,
                          kFastestRate,
                          rate));
}

}  // namespace

Audio resample(const Audio& audio, int rate) {
  check_rate(audio.rate);
  check_rate(rate);
  if (audio.rate == rate) return audio;
  static const std::vector<double> table = windowed_sinc();
  const double step = static_cast<double>(audio.rate) / rate;
  const double band = kPass * std::min(1.0, 1.0 / step);
  const double reach = kCrossings / band;
  const auto N = static_cast<std::int64_t>(audio.samples.size());
  // Whole numbers: the place of a late sample must not suffer from the length before it.
  const std::int64_t count = (N * rate + audio.rate - 1) / audio.rate;
  Audio out{std::vector<float>(static_cast<std::size_t>(count)), rate};
  constexpr std::int64_t kBlock = 4096;
  parallel_for((count + kBlock - 1) / kBlock, [&](std::int64_t block) {
    for (std::int64_t n = block * kBlock; n < std::min(count, (block + 1) * kBlock); ++n) {
      const std::int64_t whole = n * audio.rate / rate;
      const double part = static_cast<double>(n * audio.rate % rate) / rate;
      const auto far = static_cast<std::int64_t>(reach) + 1;
      double sum = 0.0;
      for (std::int64_t m = std::max<std::int64_t>(0, whole - far); m <= std::min(N - 1, whole + far); ++m) {
        const double away = static_cast<double>(whole - m) + part;
        sum += static_cast<double>(audio.samples[static_cast<std::size_t>(m)]) * at(table, band * away);
      }
      out.samples[static_cast<std::size_t>(n)] = static_cast<float>(band * sum);
    }
  });
  return out;
}

}  // namespace headscope
