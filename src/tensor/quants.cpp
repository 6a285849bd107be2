#include "tensor/quants.h"

#include <fmt/format.h>

#include <array>
#include <bit>
#include <cmath>

#include "tensor/quants_bits.h"

namespace headscope::quants {

float half_of_e8m0(unsigned e) {
  return std::bit_cast<float>(e < 2 ? std::uint32_t{0x00200000} << e : (e - 1) << 23);
}

namespace {

using Bytes = const std::byte*;

// Blocks of 32: the low halves of 16 bytes, then the high halves.

void q4_0(Bytes b, float* y) {
  const float d = f16_at(b, 0);
  for (unsigned i = 0; i < 32; ++i)
    y[i] = d * static_cast<float>(static_cast<int>(nibble(b, 2 + i % 16, i / 16)) - 8);
}

void q4_1(Bytes b, float* y) {
  const float d = f16_at(b, 0);
  const float m = f16_at(b, 2);
  for (unsigned i = 0; i < 32; ++i)
    y[i] = d * static_cast<float>(nibble(b, 4 + i % 16, i / 16)) + m;
}

/// The four low bits lie as in Q4_0, the fifth ones in a word of 32.
unsigned five_bits(Bytes b, std::size_t high, std::size_t low, unsigned i) {
  return nibble(b, low + i % 16, i / 16) | (u32_at(b, high) >> i & 1) << 4;
}

void q5_0(Bytes b, float* y) {
  const float d = f16_at(b, 0);
  for (unsigned i = 0; i < 32; ++i)
    y[i] = d * static_cast<float>(static_cast<int>(five_bits(b, 2, 6, i)) - 16);
}

void q5_1(Bytes b, float* y) {
  const float d = f16_at(b, 0);
  const float m = f16_at(b, 2);
  for (unsigned i = 0; i < 32; ++i) y[i] = d * static_cast<float>(five_bits(b, 4, 8, i)) + m;
}

void q8_0(Bytes b, float* y) {
  const float d = f16_at(b, 0);
  for (unsigned i = 0; i < 32; ++i) y[i] = static_cast<float>(int8_at(b, 2 + i)) * d;
}

void iq4_nl(Bytes b, float* y) {
  const float d = f16_at(b, 0);
  for (unsigned i = 0; i < 32; ++i)
    y[i] = d * static_cast<float>(kIq4[nibble(b, 2 + i % 16, i / 16)]);
}

void mxfp4(Bytes b, float* y) {
  const float d = half_of_e8m0(byte_at(b, 0));
  for (unsigned i = 0; i < 32; ++i)
    y[i] = d * static_cast<float>(kFp4[nibble(b, 1 + i % 16, i / 16)]);
}

/// Half of an unsigned E4M3 number; 0x7F, its NaN, counts as zero.
float half_of_e4m3(unsigned x) {
  if (x == 0x7F) return 0.0F;
  const int exponent = static_cast<int>(x >> 3 & 15);
  const auto mantissa = static_cast<float>(x & 7);
  const float whole =
      exponent == 0 ? std::ldexp(mantissa, -9) : std::ldexp(1.0F + mantissa / 8.0F, exponent - 7);
  return 0.5F * whole;
}

void nvfp4(Bytes b, float* y) {
  for (unsigned i = 0; i < 64; ++i) {  // four parts of 16, each as a small block of 8 bytes
    const unsigned part = i / 16;
    y[i] = half_of_e4m3(byte_at(b, part)) *
           static_cast<float>(kFp4[nibble(b, 4 + 8 * part + i % 8, i / 8 % 2)]);
  }
}

// Blocks of 256 with factors of their own for every 16 or 32 numbers.

/// Where number i of 256 lies among bits that are dealt out to 32 bytes at a time: the byte, and
/// how many places of `bits` bits are left of it.
struct Dealt {
  std::size_t byte;
  unsigned shift;
};
Dealt dealt(unsigned i, unsigned bits) {
  const unsigned in_group = 32 * (8 / bits);
  return {32 * (i / in_group) + i % 32, bits * (i % in_group / 32)};
}
unsigned two_bits(Bytes b, std::size_t at, unsigned i) {
  const Dealt d = dealt(i, 2);
  return byte_at(b, at + d.byte) >> d.shift & 3;
}
unsigned four_bits(Bytes b, std::size_t at, unsigned i) {
  const Dealt d = dealt(i, 4);
  return byte_at(b, at + d.byte) >> d.shift & 15;
}
unsigned one_bit(Bytes b, std::size_t at, unsigned i) {
  return byte_at(b, at + i % 32) >> (i / 32) & 1;
}

void q2_k(Bytes b, float* y) {
  const float d = f16_at(b, 80);
  const float dmin = f16_at(b, 82);
  for (unsigned i = 0; i < 256; ++i) {
    const float scale = d * static_cast<float>(byte_at(b, i / 16) & 15);
    const float least = dmin * static_cast<float>(byte_at(b, i / 16) >> 4);
    y[i] = scale * static_cast<float>(two_bits(b, 16, i)) - least;
  }
}

void q3_k(Bytes b, float* y) {
  const float d = f16_at(b, 108);
  for (unsigned i = 0; i < 256; ++i) {
    const unsigned k = i / 16;  // sixteen factors of six bits: four low ones, two high ones
    const unsigned six =
        nibble(b, 96 + k % 8, k / 8) | (byte_at(b, 104 + k % 4) >> (2 * (k / 4)) & 3) << 4;
    const float scale = d * static_cast<float>(static_cast<int>(six) - 32);
    const int low = static_cast<int>(two_bits(b, 32, i));
    y[i] = scale * static_cast<float>(one_bit(b, 0, i) != 0 ? low : low - 4);
  }
}

/// Factor and offset k of 8, six bits each in 12 bytes from byte 4 on (Q4_K, Q5_K).
struct ScaleAndLeast {
  float scale, least;
};
ScaleAndLeast scale_and_least(Bytes b, unsigned k) {
  const Bytes p = b + 4;
  unsigned scale = byte_at(p, k) & 63;
  unsigned least = byte_at(p, k + 4) & 63;
  if (k >= 4) {
    scale = (byte_at(p, k + 4) & 15) | (byte_at(p, k - 4) >> 6) << 4;
    least = byte_at(p, k + 4) >> 4 | (byte_at(p, k) >> 6) << 4;
  }
  return {f16_at(b, 0) * static_cast<float>(scale), f16_at(b, 2) * static_cast<float>(least)};
}

void q4_k(Bytes b, float* y) {
  for (unsigned k = 0; k < 8; ++k) {
    const auto [scale, least] = scale_and_least(b, k);
    for (unsigned i = 32 * k; i < 32 * k + 32; ++i)
      y[i] = scale * static_cast<float>(four_bits(b, 16, i)) - least;
  }
}

void q5_k(Bytes b, float* y) {
  for (unsigned k = 0; k < 8; ++k) {
    const auto [scale, least] = scale_and_least(b, k);
    for (unsigned i = 32 * k; i < 32 * k + 32; ++i) {
      const unsigned q = four_bits(b, 48, i) | one_bit(b, 16, i) << 4;
      y[i] = scale * static_cast<float>(q) - least;
    }
  }
}

void q6_k(Bytes b, float* y) {
  const float d = f16_at(b, 208);
  for (unsigned i = 0; i < 256; ++i) {
    // Low halves of 64 bytes, then their high halves: two such groups of 128 numbers.
    const unsigned low = nibble(b, 64 * (i / 128) + i % 64, i / 64 % 2);
    const int q = static_cast<int>(low | two_bits(b, 128, i) << 4) - 32;
    y[i] = d * static_cast<float>(int8_at(b, 192 + i / 16)) * static_cast<float>(q);
  }
}

void iq4_xs(Bytes b, float* y) {
  const float d = f16_at(b, 0);
  for (unsigned k = 0; k < 8; ++k) {
    const unsigned six = nibble(b, 4 + k / 2, k % 2) | (u16_at(b, 2) >> (2 * k) & 3) << 4;
    const float scale = d * static_cast<float>(static_cast<int>(six) - 32);
    for (unsigned i = 0; i < 32; ++i)
      y[32 * k + i] = scale * static_cast<float>(kIq4[nibble(b, 8 + 16 * k + i % 16, i / 16)]);
  }
}

/// Five (or four) ternary digits of a byte that stands for byte/256: times three, and the carry is
/// the next digit.
float trit(unsigned byte, unsigned place) {
  constexpr unsigned kPower[5] = {1, 3, 9, 27, 81};
  const unsigned q = byte * kPower[place] & 255;
  return static_cast<float>(static_cast<int>(q * 3 >> 8) - 1);
}

void tq1_0(Bytes b, float* y) {
  const float d = f16_at(b, 52);
  for (unsigned place = 0; place < 5; ++place) {
    for (unsigned i = 0; i < 32; ++i) y[32 * place + i] = trit(byte_at(b, i), place) * d;
    for (unsigned i = 0; i < 16; ++i) y[160 + 16 * place + i] = trit(byte_at(b, 32 + i), place) * d;
    if (place == 4) continue;
    for (unsigned i = 0; i < 4; ++i) y[240 + 4 * place + i] = trit(byte_at(b, 48 + i), place) * d;
  }
}

void tq2_0(Bytes b, float* y) {
  const float d = f16_at(b, 64);
  for (unsigned i = 0; i < 256; ++i)
    y[i] = static_cast<float>(static_cast<int>(two_bits(b, 0, i)) - 1) * d;
}

ReadBlock reader_of(DType dtype) {
  switch (dtype) {
    case DType::kQ4_0:
      return q4_0;
    case DType::kQ4_1:
      return q4_1;
    case DType::kQ5_0:
      return q5_0;
    case DType::kQ5_1:
      return q5_1;
    case DType::kQ8_0:
      return q8_0;
    case DType::kQ2_K:
      return q2_k;
    case DType::kQ3_K:
      return q3_k;
    case DType::kQ4_K:
      return q4_k;
    case DType::kQ5_K:
      return q5_k;
    case DType::kQ6_K:
      return q6_k;
    case DType::kIQ4_NL:
      return iq4_nl;
    case DType::kIQ4_XS:
      return iq4_xs;
    case DType::kTQ1_0:
      return tq1_0;
    case DType::kTQ2_0:
      return tq2_0;
    case DType::kMXFP4:
      return mxfp4;
    case DType::kNVFP4:
      return nvfp4;
    default:
      return grid_reader(dtype);
  }
}

}  // namespace

void dequantise(DType dtype, const std::byte* blocks, std::span<float> to) {
  const ReadBlock read = reader_of(dtype);
  if (read == nullptr) {
    throw Error(ErrorCode::kDType,
                fmt::format("[quants] expected numbers in blocks, found {}", name(dtype)));
  }
  (void)bytes_of(dtype, static_cast<std::int64_t>(to.size()));  // refuses a part of a block
  const Block block = block_of(dtype);
  const auto numbers = static_cast<std::size_t>(block.numbers);
  for (std::size_t i = 0; i < to.size(); i += numbers, blocks += block.bytes) {
    read(blocks, to.data() + i);
  }
}

}  // namespace headscope::quants
