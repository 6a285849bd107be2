// Windows of sound -> power by frequency -> loudness by bands of pitch.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <complex>
#include <numbers>

#include "headscope/audio.h"
#include "headscope/threads.h"

namespace headscope {

namespace {

using Complex = std::complex<double>;

// The discrete Fourier transform for any length, fast where its factors are small.
// Source  Cooley & Tukey 1965.
class Fourier {
 public:
  explicit Fourier(std::size_t n) : roots_(n) {
    for (std::size_t k = 0; k < n; ++k) {
      const double angle = -2.0 * std::numbers::pi * static_cast<double>(k) / static_cast<double>(n);
      roots_[k] = {std::cos(angle), std::sin(angle)};
    }
    for (std::size_t p = 2; n > 1; ++p) {
      if (p * p > n) p = n;
      for (; n % p == 0; n /= p) {
        factors_.push_back(p);
        largest_ = std::max(largest_, p);
      }
    }
  }

  // Shapes  in, out [n].
  void operator()(std::span<const Complex> in, std::span<Complex> out) const {
    std::vector<Complex> row(largest_);
    step(in.data(), 1, out, 0, row);
  }

 private:
  // Transforms every stride-th number: factor p of what is left splits them into p interleaved parts.
  void step(const Complex* in,
            std::size_t stride,
            std::span<Complex> out,
            std::size_t factor,
            std::span<Complex> row) const {
    if (out.size() == 1) {
      out[0] = in[0];
      return;
    }
    const std::size_t p = factors_[factor];
    const std::size_t part = out.size() / p;
    for (std::size_t q = 0; q < p; ++q)
      step(in + q * stride, stride * p, out.subspan(q * part, part), factor + 1, row);
    for (std::size_t k = 0; k < part; ++k) {
      for (std::size_t q = 0; q < p; ++q) row[q] = out[q * part + k] * root(q * k * stride);
      for (std::size_t r = 0; r < p; ++r) {
        Complex sum = row[0];
        for (std::size_t q = 1; q < p; ++q) sum += row[q] * root(q * r * part * stride);
        out[r * part + k] = sum;
      }
    }
  }
  [[nodiscard]] Complex root(std::size_t k) const { return roots_[k % roots_.size()]; }

  std::vector<Complex> roots_;
  std::vector<std::size_t> factors_;
  std::size_t largest_ = 1;
};

// Slaney's scale: even below 1000 Hz, then every step is the same factor.
double mel_of(double hz) {
  return hz < 1000.0 ? 3.0 * hz / 200.0 : 15.0 + std::log(hz / 1000.0) * 27.0 / std::log(6.4);
}
double hz_of(double mel) {
  return mel < 15.0 ? 200.0 * mel / 3.0 : 1000.0 * std::exp((mel - 15.0) * std::log(6.4) / 27.0);
}

// Triangles between neighbours of even mels, each with area 1. Shapes  [bins, window/2 + 1].
std::vector<std::vector<double>> bands(const MelOptions& o) {
  const double most = mel_of(o.rate / 2.0);
  std::vector<double> edges;
  for (int m = 0; m < o.bins + 2; ++m) edges.push_back(hz_of(most * m / (o.bins + 1)));
  const int half = o.window / 2;
  std::vector<std::vector<double>> out;
  for (std::size_t m = 0; m < static_cast<std::size_t>(o.bins); ++m) {
    auto& band = out.emplace_back();
    for (int k = 0; k <= half; ++k) {
      const double hz = static_cast<double>(o.rate) * k / o.window;
      const double up = (hz - edges[m]) / (edges[m + 1] - edges[m]);
      const double down = (edges[m + 2] - hz) / (edges[m + 2] - edges[m + 1]);
      band.push_back(std::max(0.0, std::min(up, down)) * 2.0 / (edges[m + 2] - edges[m]));
    }
  }
  return out;
}

void check(const Audio& audio, const MelOptions& o) {
  const bool fits = o.bins >= 1 && o.bins <= 1024 && o.window >= 2 && o.window <= 1 << 16 &&
                    o.window % 2 == 0 && o.hop >= 1 && o.hop <= 1 << 16 && o.frames >= 1 &&
                    o.frames <= std::int64_t{1} << 24 && o.rate >= kSlowestRate && o.rate <= kFastestRate &&
                    o.frames * o.hop > o.window / 2;
  if (!fits) {
    throw Error(ErrorCode::kRange,
                fmt::format("[mel] expected 1..1024 bins and an even window that fits into the sound, found {} "
                            "bins, {} frames every {}, window {}",
                            o.bins,
                            o.frames,
                            o.hop,
                            o.window));
  }
  if (audio.rate != o.rate) {
    throw Error(ErrorCode::kUsage,
                fmt::format("[mel] expected {} samples a second, found {}", o.rate, audio.rate));
  }
}

}  // namespace

Tensor log_mel(const Audio& audio, const MelOptions& o) {
  check(audio, o);
  const std::int64_t length = o.frames * o.hop;
  const auto there = static_cast<std::int64_t>(audio.samples.size());
  // Frame t is centred on sample t * hop; sound is mirrored at both ends.
  const auto sample = [&](std::int64_t n) {
    if (n < 0) n = -n;
    if (n >= length) n = 2 * length - 2 - n;
    return n < there ? static_cast<double>(audio.samples[static_cast<std::size_t>(n)]) : 0.0;
  };
  const auto W = static_cast<std::size_t>(o.window);
  std::vector<double> hann(W);
  for (std::size_t n = 0; n < W; ++n)
    hann[n] = 0.5 - 0.5 * std::cos(2.0 * std::numbers::pi * static_cast<double>(n) / o.window);
  const Fourier fourier(W);
  const auto filters = bands(o);
  Tensor out(DType::kF32, {1, o.bins, o.frames});
  const auto to = out.view<float, 3>();
  constexpr std::int64_t kBlock = 64;
  parallel_for((o.frames + kBlock - 1) / kBlock, [&](std::int64_t block) {
    std::vector<Complex> x(W), spectrum(W);
    std::vector<double> power(W / 2 + 1);
    for (std::int64_t t = block * kBlock; t < std::min(o.frames, (block + 1) * kBlock); ++t) {
      for (std::size_t n = 0; n < W; ++n)
        x[n] = hann[n] * sample(t * o.hop - o.window / 2 + static_cast<std::int64_t>(n));
      fourier(x, spectrum);
      for (std::size_t k = 0; k <= W / 2; ++k) power[k] = std::norm(spectrum[k]);
      for (std::size_t m = 0; m < filters.size(); ++m) {
        double sum = 0.0;
        for (std::size_t k = 0; k <= W / 2; ++k) sum += filters[m][k] * power[k];
        to(0, static_cast<std::int64_t>(m), t) = static_cast<float>(std::log10(std::max(sum, 1e-10)));
      }
    }
  });
  const auto all = out.span<float>();
  const float floor = *std::max_element(all.begin(), all.end()) - 8.0F;
  for (float& x : all) x = (std::max(x, floor) + 4.0F) / 4.0F;
  return out;
}

}  // namespace headscope
