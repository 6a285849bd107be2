#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string_view>
#include <vector>

#include "headscope/tensor.h"

namespace headscope {

/// Sound as one row of numbers, loudest at -1 and 1.
struct Audio {
  std::vector<float> samples;
  int rate = 0;  ///< samples a second
  [[nodiscard]] double seconds() const;
};

/// A RIFF WAVE file: PCM of 8, 16, 24 or 32 bits, or floats of 32 or 64; the channels are averaged.
/// A file that ends before its last samples (a recording that was cut off) gives those that are there.
/// Cost    one float a sample, at most four bytes for each byte of the file.
/// Errors  kNotFound, kIo, kFormat, kUnsupported (names the coding that it found), kInput (no sound in it,
///         or numbers that are not finite), kResources (beyond 4 GiB).
Audio read_wav(const std::filesystem::path& path);
/// The same from bytes; `name` is what errors call them.
Audio parse_wav(std::span<const std::byte> file, std::string_view name);

/// Rates that files may have.
inline constexpr int kSlowestRate = 1000;
inline constexpr int kFastestRate = 768000;

/// The same sound at another rate. What the new rate cannot hold is filtered away.
/// Sample n is sum_m x_m g h(g (n r - m)), r = from/to, g = 0.945 min(1, 1/r), h = sinc under a Kaiser window.
/// Cost    128 max(1, r) multiplications a sample of the result.
/// Numerics in double; tones below 0.89 of both halves of a rate keep their loudness to 1e-3, what would fold
///          back is 80 dB down.
/// Errors  kRange (a rate outside the limits above).
Audio resample(const Audio& audio, int rate);

/// The spectrum that speech models read: loudness of `bins` bands of pitch (Slaney's mel scale, 0 Hz up to half
/// the rate) in windows of `window` samples (Hann), one every `hop`. Decibels are cut 80 below the loudest and
/// brought near -1..1.
struct MelOptions {
  int bins = 80;
  std::int64_t frames = 3000;  ///< sound is cut or goes on in silence: 30 s
  int window = 400;
  int hop = 160;
  int rate = 16000;
};
/// Shapes  [1,bins,frames].
/// Cost    O(frames * window * log window) in double.
/// Errors  kRange (options), kUsage (audio of another rate).
/// Source  Radford 2022 (Whisper) s2.2; Slaney 1998 (Auditory Toolbox) for the bands.
Tensor log_mel(const Audio& audio, const MelOptions& options = {});

}  // namespace headscope
