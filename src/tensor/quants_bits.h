#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "headscope/tensor.h"

/// Fields of a block, wherever they lie.
namespace headscope::quants {

inline unsigned byte_at(const std::byte* block, std::size_t i) {
  return std::to_integer<unsigned>(block[i]);
}
inline int int8_at(const std::byte* block, std::size_t i) {
  return static_cast<std::int8_t>(byte_at(block, i));
}
inline unsigned u16_at(const std::byte* block, std::size_t i) {
  return byte_at(block, i) | byte_at(block, i + 1) << 8;
}
inline std::uint32_t u32_at(const std::byte* block, std::size_t i) {
  return u16_at(block, i) | u16_at(block, i + 2) << 16;
}
inline float f16_at(const std::byte* block, std::size_t i) {
  return to_f32(f16{static_cast<std::uint16_t>(u16_at(block, i))});
}
/// Four bits of the byte, the lower half first.
inline unsigned nibble(const std::byte* block, std::size_t i, unsigned half) {
  return byte_at(block, i) >> (4 * half) & 15;
}

/// The sixteen numbers of IQ4_NL and IQ4_XS, closer together around zero.
inline constexpr std::int8_t kIq4[16] = {
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
/// Twice the sixteen numbers of E2M1 (MXFP4, NVFP4).
inline constexpr std::int8_t kFp4[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

/// Half of 2^(e-127): the factor of kFp4 in a block of MXFP4.
float half_of_e8m0(unsigned e);

}  // namespace headscope::quants
