#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "tensor/quants.h"
#include "tensor/quants_bits.h"

namespace headscope::quants {

namespace {

using WriteBlock = void (*)(const float* x, std::byte* block);

void put_byte(std::byte* block, std::size_t i, unsigned value) {
  block[i] = static_cast<std::byte>(value);
}
void put_u16(std::byte* block, std::size_t i, unsigned value) {
  put_byte(block, i, value);
  put_byte(block, i + 1, value >> 8);
}
void put_f16(std::byte* block, std::size_t i, float value) {
  put_u16(block, i, to_f16(value).bits);
}

float inverse(float d) { return d == 0.0F ? 0.0F : 1.0F / d; }

/// The number of largest magnitude, with its sign; the first of equals.
float farthest(const float* x, int n) {
  return *std::max_element(x, x + n, [](float a, float b) { return std::abs(a) < std::abs(b); });
}

/// Casts towards zero and into [0, most].
unsigned whole(float x, unsigned most) {
  return x >= static_cast<float>(most) ? most : x > 0.0F ? static_cast<unsigned>(x) : 0U;
}

/// Sixteen low and sixteen high halves of bytes.
void put_nibbles(std::byte* block, std::size_t at, const std::array<unsigned, 32>& q) {
  for (std::size_t i = 0; i < 16; ++i) put_byte(block, at + i, (q[i] & 15) | (q[i + 16] & 15) << 4);
}
void put_fifth_bits(std::byte* block, std::size_t at, const std::array<unsigned, 32>& q) {
  unsigned bits = 0;
  for (unsigned i = 0; i < 32; ++i) bits |= (q[i] >> 4) << i;
  put_u16(block, at, bits);
  put_u16(block, at + 2, bits >> 16);
}

/// Q4_0 and Q5_0: the number farthest from zero becomes exactly -`half`.
float around_zero(const float* x, int half, std::array<unsigned, 32>& q) {
  const float d = farthest(x, 32) / static_cast<float>(-half);
  const double by = inverse(d);
  // In double, then rounded once: what a fused multiply-add of the published writer gives.
  for (std::size_t i = 0; i < 32; ++i) {
    const double place = static_cast<double>(x[i]) * by + (half + 0.5);
    q[i] = whole(static_cast<float>(place), static_cast<unsigned>(2 * half - 1));
  }
  return d;
}

/// Q4_1 and Q5_1: from the least number to the largest in `most` steps.
float between(const float* x, unsigned most, std::array<unsigned, 32>& q, float& least) {
  const auto [low, high] = std::minmax_element(x, x + 32);
  const float d = (*high - *low) / static_cast<float>(most);
  least = *low;
  for (std::size_t i = 0; i < 32; ++i) q[i] = whole((x[i] - *low) * inverse(d) + 0.5F, most);
  return d;
}

void q4_0(const float* x, std::byte* block) {
  std::array<unsigned, 32> q{};
  put_f16(block, 0, around_zero(x, 8, q));
  put_nibbles(block, 2, q);
}

void q5_0(const float* x, std::byte* block) {
  std::array<unsigned, 32> q{};
  put_f16(block, 0, around_zero(x, 16, q));
  put_fifth_bits(block, 2, q);
  put_nibbles(block, 6, q);
}

void q4_1(const float* x, std::byte* block) {
  std::array<unsigned, 32> q{};
  float least = 0.0F;
  put_f16(block, 0, between(x, 15, q, least));
  put_f16(block, 2, least);
  put_nibbles(block, 4, q);
}

void q5_1(const float* x, std::byte* block) {
  std::array<unsigned, 32> q{};
  float least = 0.0F;
  put_f16(block, 0, between(x, 31, q, least));
  put_f16(block, 2, least);
  put_fifth_bits(block, 4, q);
  put_nibbles(block, 8, q);
}

void q8_0(const float* x, std::byte* block) {
  const float d = std::abs(farthest(x, 32)) / 127.0F;
  put_f16(block, 0, d);
  const float by = inverse(d);
  for (std::size_t i = 0; i < 32; ++i) {
    // A subnormal d has no inverse in range: its numbers are at most +-127 all the same.
    const float q = std::clamp(std::round(x[i] * by), -127.0F, 127.0F);
    put_byte(block, 2 + i, static_cast<unsigned>(static_cast<int>(q)) & 255);
  }
}

void mxfp4(const float* x, std::byte* block) {
  int exponent = 0;
  const float most = std::abs(farthest(x, 32));
  if (most > 0.0F) (void)std::frexp(most, &exponent);  // most in [2^(exponent-1), 2^exponent)
  const unsigned e =
      most > 0.0F ? static_cast<unsigned>(std::clamp(exponent - 1 - 2 + 127, 0, 254)) : 0U;
  const float d = half_of_e8m0(e);
  std::array<unsigned, 32> q{};
  for (std::size_t i = 0; i < 32; ++i) {
    float least = std::abs(x[i]);  // the error of code 0
    for (unsigned code = 1; code < 16; ++code) {
      const float error = std::abs(d * static_cast<float>(kFp4[code]) - x[i]);
      if (error < least) {
        q[i] = code;
        least = error;
      }
    }
  }
  put_byte(block, 0, e);
  put_nibbles(block, 1, q);
}

/// -1, 0 or 1 as 0, 1, 2.
unsigned trit(float x, float by) {
  return static_cast<unsigned>(std::clamp(std::round(x * by), -1.0F, 1.0F) + 1.0F);
}

/// The byte whose multiples by three carry out these digits: ceil(digits * 256 / 3^5).
unsigned trit_byte(unsigned digits) { return (digits * 256 + 242) / 243; }

void tq1_0(const float* x, std::byte* block) {
  const float d = std::abs(farthest(x, 256));
  const float by = inverse(d);
  const auto pack = [&](std::size_t from, std::size_t stride, std::size_t to, int digits) {
    for (std::size_t i = 0; i < stride; ++i) {
      unsigned q = 0;
      for (std::size_t place = 0; place < 5; ++place) {
        const bool stored = place < static_cast<std::size_t>(digits);
        q = 3 * q + (stored ? trit(x[from + place * stride + i], by) : 0U);
      }
      put_byte(block, to + i, trit_byte(q));
    }
  };
  pack(0, 32, 0, 5);
  pack(160, 16, 32, 5);
  pack(240, 4, 48, 4);
  put_f16(block, 52, d);
}

void tq2_0(const float* x, std::byte* block) {
  const float d = std::abs(farthest(x, 256));
  const float by = inverse(d);
  for (std::size_t i = 0; i < 64; ++i) {
    unsigned q = 0;
    for (std::size_t place = 0; place < 4; ++place)
      q |= trit(x[128 * (i / 32) + 32 * place + i % 32], by) << (2 * place);
    put_byte(block, i, q);
  }
  put_f16(block, 64, d);
}

void f32(const float* x, std::byte* to) { std::memcpy(to, x, sizeof *x); }
void f16_of(const float* x, std::byte* to) { put_f16(to, 0, *x); }
void bf16_of(const float* x, std::byte* to) { put_u16(to, 0, to_bf16(*x).bits); }

WriteBlock writer_of(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return f32;
    case DType::kF16:
      return f16_of;
    case DType::kBF16:
      return bf16_of;
    case DType::kQ8_0:
      return q8_0;
    case DType::kQ4_0:
      return q4_0;
    case DType::kQ4_1:
      return q4_1;
    case DType::kQ5_0:
      return q5_0;
    case DType::kQ5_1:
      return q5_1;
    case DType::kMXFP4:
      return mxfp4;
    case DType::kTQ1_0:
      return tq1_0;
    case DType::kTQ2_0:
      return tq2_0;
    default:
      return nullptr;
  }
}

}  // namespace

bool can_quantise(DType dtype) { return writer_of(dtype) != nullptr; }

void quantise(DType dtype, std::span<const float> from, std::byte* blocks) {
  const WriteBlock write = writer_of(dtype);
  if (write == nullptr) {
    throw Error(ErrorCode::kDType, fmt::format("[quants] cannot write {}", name(dtype)));
  }
  (void)bytes_of(dtype, static_cast<std::int64_t>(from.size()));  // refuses a part of a block
  const Block block = block_of(dtype);
  const auto numbers = static_cast<std::size_t>(block.numbers);
  for (std::size_t i = 0; i < from.size(); i += numbers, blocks += block.bytes) {
    write(from.data() + i, blocks);
  }
}

}  // namespace headscope::quants
