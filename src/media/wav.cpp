// RIFF WAVE files: chunks of a name, a size and bytes. Nothing in them is trusted.
#include <fmt/format.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>
#include <string>

#include "headscope/audio.h"
#include "headscope/safetensors.h"
#include "media/endian.h"

namespace headscope {

namespace {

using Bytes = std::span<const std::byte>;
using media::little;

bool is(Bytes bytes, std::size_t at, std::string_view word) {
  return bytes.size() >= at + word.size() &&
         std::memcmp(bytes.data() + at, word.data(), word.size()) == 0;
}

// How samples are written down.
struct Coding {
  bool floats = false;
  std::size_t bits = 0;
  std::size_t channels = 0;
  int rate = 0;
  [[nodiscard]] std::size_t frame() const { return bits / 8 * channels; }
};

Coding read_format(Bytes chunk, std::string_view name) {
  constexpr std::uint64_t kPcm = 1, kFloat = 3, kExtensible = 0xFFFE;
  if (chunk.size() < 16) {
    throw Error(
        ErrorCode::kFormat,
        fmt::format("[{}] expected 16 bytes or more in \"fmt \", found {}", name, chunk.size()));
  }
  std::uint64_t tag = little(chunk, 0, 2);
  if (tag == kExtensible && chunk.size() >= 26) tag = little(chunk, 24, 2);
  Coding c;
  c.floats = tag == kFloat;
  c.channels = little(chunk, 2, 2);
  const std::uint64_t rate = little(chunk, 4, 4);
  const std::uint64_t frame = little(chunk, 12, 2);
  c.bits = little(chunk, 14, 2);
  const bool known = c.floats ? c.bits == 32 || c.bits == 64
                              : tag == kPcm && c.bits % 8 == 0 && c.bits >= 8 && c.bits <= 32;
  if (!known) {
    throw Error(
        ErrorCode::kUnsupported,
        fmt::format(
            "[{}] expected PCM of 8, 16, 24, 32 bits or floats of 32, 64, found coding {} of "
            "{} bits",
            name,
            tag,
            c.bits));
  }
  if (c.channels < 1 || frame != c.frame()) {
    throw Error(ErrorCode::kFormat,
                fmt::format("[{}] expected {} bytes for a sample of {} channels, found {}",
                            name,
                            c.frame(),
                            c.channels,
                            frame));
  }
  if (rate < kSlowestRate || rate > kFastestRate) {
    throw Error(ErrorCode::kUnsupported,
                fmt::format("[{}] expected {} to {} samples a second, found {}",
                            name,
                            kSlowestRate,
                            kFastestRate,
                            rate));
  }
  c.rate = static_cast<int>(rate);
  return c;
}

double sample(Bytes bytes, std::size_t at, const Coding& c) {
  const std::uint64_t x = little(bytes, at, c.bits / 8);
  if (c.floats && c.bits == 64) return std::bit_cast<double>(x);
  if (c.floats) return static_cast<double>(std::bit_cast<float>(static_cast<std::uint32_t>(x)));
  if (c.bits == 8) return (static_cast<double>(x) - 128.0) / 128.0;
  // The sign bit goes to the top, the rest is a fraction.
  return static_cast<double>(static_cast<std::int32_t>(x << (32 - c.bits))) / 2147483648.0;
}

std::vector<float> read_samples(Bytes data, const Coding& c, std::string_view name) {
  const std::size_t n = data.size() / c.frame();
  if (n == 0) throw Error(ErrorCode::kInput, fmt::format("[{}] expected sound, found none", name));
  std::vector<float> out(n);
  for (std::size_t i = 0; i < n; ++i) {
    double sum = 0.0;
    for (std::size_t k = 0; k < c.channels; ++k)
      sum += sample(data, i * c.frame() + k * (c.bits / 8), c);
    const double mean = sum / static_cast<double>(c.channels);
    if (!(std::abs(mean) <= static_cast<double>(std::numeric_limits<float>::max()))) {
      throw Error(
          ErrorCode::kInput,
          fmt::format(
              "[{}] expected numbers that a float holds, found {} in sample {}", name, mean, i));
    }
    out[i] = static_cast<float>(mean);
  }
  return out;
}

}  // namespace

double Audio::seconds() const {
  return rate > 0 ? static_cast<double>(samples.size()) / static_cast<double>(rate) : 0.0;
}

Audio parse_wav(Bytes file, std::string_view name) {
  if (!is(file, 0, "RIFF") || !is(file, 8, "WAVE")) {
    const bool other = is(file, 0, "RF64") || is(file, 0, "RIFX");
    throw Error(other ? ErrorCode::kUnsupported : ErrorCode::kFormat,
                fmt::format("[{}] expected a file that begins with RIFF....WAVE, found {}",
                            name,
                            other ? "RF64 or RIFX" : "another"));
  }
  std::optional<Coding> coding;
  for (std::size_t at = 12; file.size() - at >= 8;) {
    const std::uint64_t told = little(file, at + 4, 4);
    const Bytes rest = file.subspan(at + 8);
    // Programs that write to a pipe do not know the size, and some recordings are cut off.
    const Bytes chunk = rest.first(std::min<std::uint64_t>(told, rest.size()));
    if (is(file, at, "fmt ")) {
      coding = read_format(chunk, name);
    } else if (is(file, at, "data")) {
      if (!coding)
        throw Error(ErrorCode::kFormat,
                    fmt::format("[{}] expected \"fmt \" before \"data\", found none", name));
      return {read_samples(chunk, *coding, name), coding->rate};
    }
    at += 8 + chunk.size();
    if (chunk.size() % 2 == 1 && at < file.size()) ++at;
  }
  throw Error(
      ErrorCode::kFormat,
      fmt::format("[{}] expected a chunk \"{}\", found none", name, coding ? "data" : "fmt "));
}

Audio read_wav(const std::filesystem::path& path) {
  const std::string file = read_file(path, std::size_t{1} << 32);
  return parse_wav(std::as_bytes(std::span(file)), path.string());
}

}  // namespace headscope
