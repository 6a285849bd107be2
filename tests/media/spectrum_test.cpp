// Other rates and mel spectra against plain sums.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <complex>
#include <numbers>
#include <random>

#include "headscope/audio.h"
#include "headscope/threads.h"

namespace headscope {
namespace {

constexpr double kPi = std::numbers::pi;

Audio noise(std::size_t n, int rate, unsigned seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> loud(-1.0F, 1.0F);
  Audio out{std::vector<float>(n), rate};
  for (float& x : out.samples) x = loud(random);
  return out;
}

Audio tone(double hz, std::size_t n, int rate) {
  Audio out{std::vector<float>(n), rate};
  for (std::size_t i = 0; i < n; ++i)
    out.samples[i] = static_cast<float>(std::sin(2.0 * kPi * hz * static_cast<double>(i) / rate));
  return out;
}

double root_mean_square(const Audio& audio) {
  // Away from the ends, where the silence before and after is heard.
  double sum = 0.0;
  const std::size_t edge = audio.samples.size() / 4;
  for (std::size_t i = edge; i < 3 * edge; ++i)
    sum += static_cast<double>(audio.samples[i]) * static_cast<double>(audio.samples[i]);
  return std::sqrt(sum / static_cast<double>(2 * edge));
}

double window(double t) {
  if (std::abs(t) >= 64.0) return 0.0;
  return std::cyl_bessel_i(0.0, 8.0 * std::sqrt(1.0 - t * t / 4096.0)) / std::cyl_bessel_i(0.0, 8.0);
}

TEST(Resample, IsTheDocumentedSum) {
  for (const auto& [from, to] : {std::pair{44100, 16000}, {8000, 16000}, {48000, 16000}, {11025, 16000},
                                 {1234, 4321}}) {
    const Audio audio = noise(700, from, 3);
    const Audio found = resample(audio, to);
    const double step = static_cast<double>(from) / to;
    ASSERT_EQ(found.samples.size(), static_cast<std::size_t>(std::ceil(700.0 / step)));
    const double g = 0.945 * std::min(1.0, 1.0 / step);
    for (std::size_t n = 0; n < found.samples.size(); n += 7) {
      double sum = 0.0;
      for (std::size_t m = 0; m < audio.samples.size(); ++m) {
        const double t = g * (static_cast<double>(n) * step - static_cast<double>(m));
        const double sinc = std::abs(t) < 1e-12 ? 1.0 : std::sin(kPi * t) / (kPi * t);
        sum += g * static_cast<double>(audio.samples[m]) * sinc * window(t);
      }
      // A line between entries of the table is off by (pi/512)^2/24 at most; 700 of them add up like a walk.
      EXPECT_NEAR(found.samples[n], sum, 3e-5) << from << " -> " << to << " at " << n;
    }
  }
}

TEST(Resample, KeepsWhatTheNewRateHoldsAndNothingElse) {
  for (const auto& [from, to] : {std::pair{44100, 16000}, {8000, 16000}, {48000, 44100}}) {
    const double half = std::min(from, to) / 2.0;
    for (const double share : {0.01, 0.3, 0.89}) {
      const Audio found = resample(tone(share * half, 8000, from), to);
      const Audio ideal = tone(share * half, found.samples.size(), to);
      EXPECT_NEAR(root_mean_square(found), root_mean_square(ideal), 1e-3)
          << from << " -> " << to << ", " << share;
    }
    for (const double share : {1.0, 1.2}) {
      if (share * half >= from / 2.0) continue;
      EXPECT_LT(root_mean_square(resample(tone(share * half, 8000, from), to)), 1e-4 * std::sqrt(0.5) * 1.5)
          << from << " -> " << to << ", " << share;
    }
  }
}

TEST(Resample, KeepsTheSameRateBitForBitAndRefusesOthers) {
  const Audio audio = noise(50, 16000, 1);
  EXPECT_EQ(resample(audio, 16000).samples, audio.samples);
  EXPECT_THROW((void)resample(audio, 10), Error);
  EXPECT_THROW((void)resample({{0.0F}, 0}, 16000), Error);
}

// Everything that log_mel says it does, by sums alone.
std::vector<std::vector<double>> plain_log_mel(const Audio& audio, const MelOptions& o) {
  const std::int64_t length = o.frames * o.hop;
  std::vector<double> x(static_cast<std::size_t>(length), 0.0);
  for (std::size_t i = 0; i < std::min(x.size(), audio.samples.size()); ++i)
    x[i] = static_cast<double>(audio.samples[i]);
  const auto mel = [](double f) {
    return f < 1000.0 ? f / (200.0 / 3.0) : 15.0 + std::log(f / 1000.0) / (std::log(6.4) / 27.0);
  };
  const auto hertz = [](double m) {
    return m < 15.0 ? m * (200.0 / 3.0) : 1000.0 * std::exp((std::log(6.4) / 27.0) * (m - 15.0));
  };
  std::vector<std::vector<double>> out(static_cast<std::size_t>(o.bins));
  double most = -1e9;
  for (std::int64_t t = 0; t < o.frames; ++t) {
    std::vector<double> power;
    for (int k = 0; k <= o.window / 2; ++k) {
      std::complex<double> sum = 0.0;
      for (int n = 0; n < o.window; ++n) {
        std::int64_t at = t * o.hop + n - o.window / 2;
        if (at < 0) at = -at;
        if (at >= length) at = 2 * (length - 1) - at;
        const double hann = std::pow(std::sin(kPi * n / o.window), 2.0);
        sum += hann * x[static_cast<std::size_t>(at)] * std::polar(1.0, -2.0 * kPi * k * n / o.window);
      }
      power.push_back(std::norm(sum));
    }
    for (int m = 0; m < o.bins; ++m) {
      const auto edge = [&](int i) { return hertz(mel(o.rate / 2.0) * i / (o.bins + 1)); };
      const double left = edge(m), middle = edge(m + 1), right = edge(m + 2);
      double sum = 0.0;
      for (int k = 0; k <= o.window / 2; ++k) {
        const double f = static_cast<double>(k) * o.rate / o.window;
        double height = 0.0;
        if (f > left && f <= middle) height = (f - left) / (middle - left);
        if (f > middle && f < right) height = (right - f) / (right - middle);
        sum += height * 2.0 / (right - left) * power[static_cast<std::size_t>(k)];
      }
      out[static_cast<std::size_t>(m)].push_back(std::log10(std::max(sum, 1e-10)));
      most = std::max(most, out[static_cast<std::size_t>(m)].back());
    }
  }
  for (auto& band : out) {
    for (double& v : band) v = (std::max(v, most - 8.0) + 4.0) / 4.0;
  }
  return out;
}

TEST(LogMel, IsTheDocumentedSum) {
  const MelOptions cases[] = {{.frames = 12},
                              {.bins = 128, .frames = 9},
                              {.bins = 10, .frames = 32},
                              {.bins = 23, .frames = 8, .window = 254, .hop = 100, .rate = 8000},
                              {.bins = 5, .frames = 7, .window = 64, .hop = 64}};
  for (const MelOptions& o : cases) {
    // Shorter than the frames, and longer.
    for (const std::size_t n : {std::size_t{900}, std::size_t{6000}}) {
      const Audio audio = noise(n, o.rate, 5);
      const Tensor found = log_mel(audio, o);
      ASSERT_EQ(found.shape(), (Shape{1, o.bins, o.frames}));
      const auto expected = plain_log_mel(audio, o);
      for (int m = 0; m < o.bins; ++m) {
        for (std::int64_t t = 0; t < o.frames; ++t)
          ASSERT_NEAR((found.view<float, 3>()(0, m, t)),
                      expected[static_cast<std::size_t>(m)][static_cast<std::size_t>(t)],
                      1e-5)
              << m << " " << t;
      }
    }
  }
}

TEST(LogMel, SilenceIsTheFloorOfWhisper) {
  const Tensor found = log_mel({std::vector<float>(16000, 0.0F), 16000});
  ASSERT_EQ(found.shape(), (Shape{1, 80, 3000}));
  for (const float x : found.span<float>()) ASSERT_EQ(x, -1.5F);
}

TEST(LogMel, AToneIsLoudestInItsBand) {
  const Tensor found = log_mel(tone(1000.0, 48000, 16000), {.frames = 300});
  const auto v = found.view<float, 3>();
  std::int64_t loudest = 0;
  for (std::int64_t m = 0; m < 80; ++m) {
    if (v(0, m, 150) > v(0, loudest, 150)) loudest = m;
  }
  // Mel 15 of 45.245 on a ladder of 81 steps: band 26 has its middle at 27 * 45.245/81 = 15.08.
  EXPECT_EQ(loudest, 26);
}

TEST(LogMel, DoesNotDependOnThreads) {
  const Audio audio = noise(20000, 16000, 9);
  set_threads(1);
  const Tensor one = log_mel(audio, {.frames = 200});
  set_threads(2);
  const Tensor two = log_mel(audio, {.frames = 200});
  EXPECT_TRUE(std::ranges::equal(one.span<float>(), two.span<float>()));
}

TEST(LogMel, RefusesOptionsThatMakeNoSense) {
  const Audio audio = noise(100, 16000, 1);
  EXPECT_THROW((void)log_mel(audio, {.bins = 0}), Error);
  EXPECT_THROW((void)log_mel(audio, {.frames = 0}), Error);
  EXPECT_THROW((void)log_mel(audio, {.frames = 1}), Error);
  EXPECT_THROW((void)log_mel(audio, {.window = 401}), Error);
  EXPECT_THROW((void)log_mel(noise(100, 8000, 1)), Error);
}

}  // namespace
}  // namespace headscope
