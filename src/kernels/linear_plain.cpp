// Products with weights as files store them, in plain C++: what every other body is compared with.
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/linear_bodies.h"

namespace headscope::kernels {

bool has_int8(DType dtype) {
  return dtype == DType::kQ4_0 || dtype == DType::kQ4_1 || dtype == DType::kQ8_0 ||
         dtype == DType::kQ4_K || dtype == DType::kQ6_K;
}

namespace plain {

namespace {

float half_at(const std::uint8_t* at) {
  f16 half;
  std::memcpy(&half, at, sizeof(half));
  return to_f32(half);
}

// The first 16 numbers lie in the low halves of 16 bytes, the others in the high ones.
void read_nibbles(const std::uint8_t* at, Block32& to) {
  for (int i = 0; i < 16; ++i) {
    to.q[i] = static_cast<std::int8_t>(at[i] & 0xF);
    to.q[i + 16] = static_cast<std::int8_t>(at[i] >> 4);
  }
}

Block32 read_q4_k(const std::uint8_t* at, std::int64_t part) {
  Block32 to;
  const std::uint8_t* s = at + 4;
  const bool low = part < 4;
  const int scale = low ? s[part] & 63 : (s[part + 4] & 0xF) | (s[part - 4] >> 6) << 4;
  const int least = low ? s[part + 4] & 63 : s[part + 4] >> 4 | (s[part] >> 6) << 4;
  to.scale[0] = to.scale[1] = half_at(at) * static_cast<float>(scale);
  to.least = -half_at(at + 2) * static_cast<float>(least);
  const std::uint8_t* q = at + 16 + part / 2 * 32;
  for (int i = 0; i < 32; ++i)
    to.q[i] = static_cast<std::int8_t>((part & 1) == 0 ? q[i] & 0xF : q[i] >> 4);
  return to;
}

Block32 read_q6_k(const std::uint8_t* at, std::int64_t part) {
  Block32 to;
  const std::uint8_t* low = at + part / 4 * 64 + (part & 1) * 32;
  const std::uint8_t* high = at + 128 + part / 4 * 32;
  const auto low_shift = static_cast<int>(part % 4 / 2 * 4);
  const auto high_shift = static_cast<int>(part % 4 * 2);
  for (int i = 0; i < 32; ++i) {
    const int q = (low[i] >> low_shift & 0xF) | (high[i] >> high_shift & 3) << 4;
    to.q[i] = static_cast<std::int8_t>(q - 32);
  }
  const float d = half_at(at + 208);
  for (int half = 0; half < 2; ++half) {
    const auto scale = static_cast<std::int8_t>(at[192 + part * 2 + half]);
    to.scale[half] = d * static_cast<float>(scale);
  }
  to.least = 0.0F;
  return to;
}

}  // namespace

Block32 read(DType dtype, const std::byte* row, std::int64_t b) noexcept {
  const auto* at = reinterpret_cast<const std::uint8_t*>(row);
  Block32 to;
  switch (dtype) {
    case DType::kQ4_K:
      return read_q4_k(at + b / 8 * 144, b % 8);
    case DType::kQ6_K:
      return read_q6_k(at + b / 8 * 210, b % 8);
    case DType::kQ4_0:
      at += b * 18;
      to.scale[0] = to.scale[1] = half_at(at);
      to.least = -8.0F * to.scale[0];
      read_nibbles(at + 2, to);
      return to;
    case DType::kQ4_1:
      at += b * 20;
      to.scale[0] = to.scale[1] = half_at(at);
      to.least = half_at(at + 2);
      read_nibbles(at + 4, to);
      return to;
    default:  // q8_0
      at += b * 34;
      to.scale[0] = to.scale[1] = half_at(at);
      to.least = 0.0F;
      std::memcpy(to.q, at + 2, 32);
      return to;
  }
}

void round(const float* x,
           std::int64_t K,
           std::int8_t* q,
           float* scale,
           float* sum,
           std::int32_t* halves) noexcept {
  for (std::int64_t b = 0; b < K / kInt8Block; ++b, x += kInt8Block, q += kInt8Block) {
    float largest = 0.0F;
    bool finite = true;
    for (std::int64_t i = 0; i < kInt8Block; ++i) {
      finite = finite && std::isfinite(x[i]);
      largest = std::fmax(largest, std::fabs(x[i]));
    }
    const float up = finite && largest > 1e-30F ? 127.0F / largest : 0.0F;
    std::int32_t totals[2] = {0, 0};
    for (std::int64_t i = 0; i < kInt8Block; ++i) {
      q[i] = up == 0.0F ? std::int8_t{0} : static_cast<std::int8_t>(std::nearbyint(x[i] * up));
      totals[i / 16] += q[i];
    }
    scale[b] =
        finite ? (up == 0.0F ? 0.0F : largest / 127.0F) : std::numeric_limits<float>::quiet_NaN();
    sum[b] = scale[b] * static_cast<float>(totals[0] + totals[1]);
    halves[2 * b] = totals[0];
    halves[2 * b + 1] = totals[1];
  }
}

void multiply(const Int8Task& t) noexcept {
  const std::int64_t blocks = t.K / kInt8Block;
  const bool by_halves = t.dtype == DType::kQ6_K;
  const bool has_least = t.dtype != DType::kQ8_0 && !by_halves;
  for (std::int64_t n = 0; n < t.N; ++n) {
    for (std::int64_t m = 0; m < t.M; ++m) t.y[m * t.y_stride + n] = 0.0F;
    for (std::int64_t b = 0; b < blocks; ++b) {
      const Block32 w = read(t.dtype, t.weight + static_cast<std::size_t>(n) * t.row_bytes, b);
      for (std::int64_t m = 0; m < t.M; ++m) {
        const std::int8_t* q = t.x.q + m * t.K + b * kInt8Block;
        std::int32_t total[2] = {0, 0};
        for (int i = 0; i < 32; ++i) total[i / 16] += q[i] * w.q[i];
        const float factor = t.x.scale[m * blocks + b];
        float& y = t.y[m * t.y_stride + n];
        if (by_halves) {
          y = std::fma(static_cast<float>(total[0]) * factor, w.scale[0], y);
          y = std::fma(static_cast<float>(total[1]) * factor, w.scale[1], y);
        } else {
          y = std::fma(static_cast<float>(total[0] + total[1]) * factor, w.scale[0], y);
        }
        if (has_least) y = std::fma(t.x.sum[m * blocks + b], w.least, y);
      }
    }
    if (t.bias == nullptr) continue;
    for (std::int64_t m = 0; m < t.M; ++m) t.y[m * t.y_stride + n] += t.bias[n];
  }
}

std::size_t no_bytes(DType, std::int64_t) { return 0; }

void widen(DType dtype, const std::byte* from, std::int64_t n, float* to) noexcept {
  for (std::int64_t i = 0; i < n; ++i, from += 2) {
    std::uint16_t bits = 0;
    std::memcpy(&bits, from, sizeof(bits));
    to[i] = dtype == DType::kF16 ? to_f32(f16{bits}) : to_f32(bf16{bits});
  }
}

void dots(const DotTask& t) noexcept {
  for (std::int64_t n = 0; n < t.N; ++n) {
    const float* w = t.weight + n * t.weight_stride;
    for (std::int64_t m = 0; m < t.M; ++m) {
      const float* x = t.x + m * t.x_stride;
      double sum = 0.0;
      for (std::int64_t k = 0; k < t.K; ++k)
        sum += static_cast<double>(x[k]) * static_cast<double>(w[k]);
      if (t.bias != nullptr) sum += static_cast<double>(t.bias[n]);
      t.y[m * t.y_stride + n] = static_cast<float>(sum);
    }
  }
}

}  // namespace plain
}  // namespace headscope::kernels
