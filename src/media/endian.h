#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

/// Whole numbers as files write them: `count` bytes from byte `at` on, at most eight. Nothing is checked here, for
/// samples are read by the million: whoever calls has seen that `at + count` is no more than there is.
namespace headscope::media {

/// The lowest byte first: RIFF, Exif of "II".
constexpr std::uint64_t little(std::span<const std::byte> bytes,
                               std::size_t at,
                               std::size_t count) {
  std::uint64_t out = 0;
  for (std::size_t i = count; i-- > 0;)
    out = out << 8U | std::to_integer<std::uint64_t>(bytes[at + i]);
  return out;
}

/// The highest byte first: JPEG, PNG, Exif of "MM".
constexpr std::uint64_t big(std::span<const std::byte> bytes, std::size_t at, std::size_t count) {
  std::uint64_t out = 0;
  for (std::size_t i = 0; i < count; ++i)
    out = out << 8U | std::to_integer<std::uint64_t>(bytes[at + i]);
  return out;
}

}  // namespace headscope::media
