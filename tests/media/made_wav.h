#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <string>

/// WAV files for tests, written byte by byte.
namespace headscope::media {

/// The low `bytes` bytes of x, the lowest first.
inline std::string put(std::int64_t x, std::size_t bytes) {
  std::string out;
  for (std::size_t i = 0; i < bytes; ++i) out += static_cast<char>(static_cast<std::uint64_t>(x) >> (8 * i) & 0xFF);
  return out;
}

/// A file with one "fmt " (and `more` behind its 16 bytes) and one "data".
inline std::string wav(std::int64_t tag,
                       std::int64_t channels,
                       std::int64_t rate,
                       std::int64_t bits,
                       const std::string& data,
                       const std::string& more = "") {
  const std::int64_t frame = channels * bits / 8;
  const std::string format = put(tag, 2) + put(channels, 2) + put(rate, 4) + put(rate * frame, 4) +
                             put(frame, 2) + put(bits, 2) + more;
  const auto size = [](const std::string& s) { return put(static_cast<std::int64_t>(s.size()), 4); };
  const std::string body = "WAVEfmt " + size(format) + format + "data" + size(data) + data;
  return "RIFF" + size(body) + body;
}

/// One number between -1 and 1 in a coding.
inline std::string sample(double x, int tag, int bits) {
  if (tag == 3 && bits == 32) return put(std::bit_cast<std::int32_t>(static_cast<float>(x)), 4);
  if (tag == 3) return put(std::bit_cast<std::int64_t>(x), 8);
  const double whole = std::ldexp(x, bits - 1);
  return put(std::llround(whole) + (bits == 8 ? 128 : 0), static_cast<std::size_t>(bits / 8));
}

}  // namespace headscope::media
