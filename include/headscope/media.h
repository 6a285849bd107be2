#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "headscope/audio.h"
#include "headscope/music.h"
#include "headscope/table.h"
#include "headscope/tensor.h"

namespace headscope {

/// What a stream of bytes is, told by its content and never by its name. Text may be a table: a model knows.
enum class MediaKind : std::uint8_t { kText, kImage, kVideo, kAudio, kMidi, kBytes };
/// "text", "a picture", ...: for sentences.
std::string_view name(MediaKind kind);
/// Looks at the first bytes (4 KiB are enough). Text is UTF-8 without control characters but white space.
MediaKind sniff(std::span<const std::byte> beginning);
/// Errors: kNotFound, kIo, kResources (a pipe or device).
MediaKind sniff(const std::filesystem::path& path);
/// The first byte of the first 4 KiB that text would not have; -1: they are text.
std::int64_t no_text_at(std::span<const std::byte> beginning);

/// Bounds that are checked before anything of that size is allocated.
struct MediaLimits {
  std::int64_t most_pixels = std::int64_t{1} << 26;   ///< width x height of a picture or frame
  std::int64_t most_frames = 100'000;                 ///< of a video, looked through
  std::int64_t most_decoded = std::int64_t{1} << 36;  ///< pixels decoded of one video
  std::size_t most_bytes = std::size_t{1} << 30;      ///< of pictures kept
  std::int64_t most_samples = std::int64_t{1} << 28;  ///< of sound
};

/// Pictures in the order of time.
struct Clip {
  Tensor frames;                ///< u8 [N,H,W,3]
  std::vector<double> seconds;  ///< when each is shown
  std::int64_t total = 0;       ///< frames that the file has
  std::int64_t promised = 0;    ///< frames that its header promises; 0: it says nothing
  std::int64_t damaged = 0;     ///< damaged frames that were passed over: none of those taken is
};

/// A picture in any format of FFmpeg's (PNG, JPEG, GIF, BMP, WebP, TIFF, PNM, ...), turned as its Exif says, alpha
/// left out. Shapes u8 [H,W,3].
/// Errors  kFormat (also a picture that is damaged or cut off), kResources (the limits), kUnsupported
///         (no decoder for it, or built without FFmpeg), kNotFound, kIo.
Tensor read_picture(const std::filesystem::path& path, const MediaLimits& limits = {});
Tensor parse_picture(std::span<const std::byte> file,
                     std::string_view name,
                     const MediaLimits& limits = {});

/// Which frames of a video are taken: `first` and every `every`-th behind it, the last one again where the video ends;
/// first -1: spread evenly from the first to the last.
struct FrameChoice {
  std::int64_t first = -1;
  std::int64_t every = 1;
};

/// `count` frames of a video; a shorter one repeats frames. An image is a video that stands still.
/// Cost    the file is mapped, walked through once and decoded once up to the last frame asked for.
/// Errors  as read_picture; kFormat (a frame that is to be taken is damaged, cut off, or made from one
///         that is: names it); kRange (count or every below 1, a first frame that is not there).
Clip read_clip(const std::filesystem::path& path,
               std::int64_t count,
               const MediaLimits& limits = {},
               const FrameChoice& choice = {});
Clip parse_clip(std::span<const std::byte> file,
                std::string_view name,
                std::int64_t count,
                const MediaLimits& limits = {},
                const FrameChoice& choice = {});

/// Sound in any format, also that of a video; channels are averaged. RIFF WAVE files need no FFmpeg.
/// Errors: as read_wav and read_picture.
Audio read_audio(const std::filesystem::path& path, const MediaLimits& limits = {});
Audio parse_audio(std::span<const std::byte> file,
                  std::string_view name,
                  const MediaLimits& limits = {});

/// What `media.json` beside a model says of its tokens: {"kind": "notes", ...}, {"kind": "numbers", ...} or
/// {"kind": "bytes", "first": 0}. See docs/media.md.
struct SequenceCode {
  std::optional<NoteCode> notes;
  std::optional<NumberCode> numbers;
  std::optional<std::int32_t> bytes;  ///< id of byte 0
  /// Errors: kNotFound, kFormat (names the key), kUnsupported (another kind).
  static SequenceCode read(const std::filesystem::path& media_json);
  static SequenceCode parse(std::string_view json, std::string_view name);
};

/// What bytes are for a person: "byte 12: 41 A". Column counts them.
std::vector<Label> byte_labels(std::span<const std::byte> bytes);

}  // namespace headscope
