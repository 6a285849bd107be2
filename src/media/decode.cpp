// Pictures, videos and sound through FFmpeg's libraries. They read from memory only: a file that
// names another, or a stream from elsewhere, gets nothing. What they would print is caught: a
// complaint of a decoder is a sign of damage.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "headscope/media.h"
#include "headscope/safetensors.h"
#include "media/stream.h"

namespace headscope {

namespace {

using Bytes = std::span<const std::byte>;

std::string_view text_of(Bytes file) {
  return {reinterpret_cast<const char*>(file.data()), file.size()};
}

bool is_wave(Bytes file) {
  const std::string_view text = text_of(file);
  return text.size() >= 12 && text.starts_with("RIFF") && text.substr(8, 4) == "WAVE";
}

}  // namespace

#ifdef HEADSCOPE_MEDIA

namespace {

using media::Stream;

// As Exif counts: 1 upright, 3 upside down, 6 turned right, 8 turned left, even ones mirrored.
Tensor turned(const Tensor& from, int orientation) {
  const std::int64_t H = from.dim(0);
  const std::int64_t W = from.dim(1);
  const bool swapped = orientation >= 5;
  Tensor out(DType::kU8, swapped ? Shape{W, H, 3} : Shape{H, W, 3});
  const auto source = from.view<std::uint8_t, 3>();
  const auto target = out.view<std::uint8_t, 3>();
  for (std::int64_t y = 0; y < out.dim(0); ++y) {
    for (std::int64_t x = 0; x < out.dim(1); ++x) {
      std::int64_t r = swapped ? x : y;
      std::int64_t c = swapped ? y : x;
      if (orientation == 3 || orientation == 4 || orientation == 7 || orientation == 8) {
        if (swapped)
          c = W - 1 - c;
        else
          r = H - 1 - r;
      }
      if (orientation == 2 || orientation == 3 || orientation == 6 || orientation == 7) {
        if (swapped)
          r = H - 1 - r;
        else
          c = W - 1 - c;
      }
      for (std::int64_t k = 0; k < 3; ++k) target(y, x, k) = source(r, c, k);
    }
  }
  return out;
}

// Which of `total` frames are the `count` that are kept.
std::vector<std::int64_t> chosen(std::int64_t total,
                                 std::int64_t count,
                                 const FrameChoice& choice) {
  std::vector<std::int64_t> out;
  for (std::int64_t n = 0; n < count && choice.first >= 0; ++n) {
    const bool there = n <= (total - 1 - choice.first) / choice.every;
    out.push_back(there ? choice.first + n * choice.every : total - 1);
  }
  for (std::int64_t n = 0; n < count && choice.first < 0; ++n)
    out.push_back(count == 1 ? (total - 1) / 2
                             : (2 * n * (total - 1) + count - 1) / (2 * (count - 1)));
  return out;
}

void put_frame(Clip& clip, std::int64_t n, const Tensor& picture, double seconds) {
  const std::int64_t size = picture.size();
  std::copy_n(picture.span<std::uint8_t>().begin(),
              size,
              clip.frames.span<std::uint8_t>().begin() + n * size);
  clip.seconds[static_cast<std::size_t>(n)] = seconds;
}

[[noreturn]] void fail_damaged(std::string_view name) {
  throw Error(ErrorCode::kFormat,
              fmt::format("[{}] expected a whole picture, found it damaged or cut off", name));
}

[[noreturn]] void fail_damaged(std::string_view name, std::int64_t frame, const Clip& clip) {
  if (clip.total <= 1 && clip.promised <= 1) fail_damaged(name);
  const bool fewer = clip.promised > clip.total;
  throw Error(ErrorCode::kFormat,
              fmt::format("[{}] expected whole frames, found frame {} of {} damaged or cut off{}",
                          name,
                          frame,
                          clip.total,
                          fewer ? fmt::format(" (the header promises {})", clip.promised) : ""));
}

// Room for `count` frames of the size of this one.
void make_room(Clip& clip,
               const Tensor& frame,
               std::size_t count,
               std::string_view name,
               const MediaLimits& limits) {
  const std::size_t bytes = frame.bytes() * count;
  if (bytes > limits.most_bytes) {
    throw Error(ErrorCode::kResources,
                fmt::format("[{}] expected frames of at most {} bytes together, found {}",
                            name,
                            limits.most_bytes,
                            bytes));
  }
  clip.frames =
      Tensor(DType::kU8, {static_cast<std::int64_t>(count), frame.dim(0), frame.dim(1), 3});
  clip.seconds.assign(count, 0.0);
}

// The wanted frames, in order; those that are not wanted may be damaged.
void take_frames(Stream& stream,
                 std::string_view name,
                 const std::vector<std::int64_t>& wanted,
                 const MediaLimits& limits,
                 Clip& clip) {
  Tensor last;
  double last_seconds = 0.0;
  std::size_t filled = 0;
  std::int64_t at = 0;
  std::int64_t lost = 0;
  for (; filled < wanted.size() && stream.next(); ++at) {
    const std::int64_t gone = stream.lost() - std::exchange(lost, stream.lost());
    if (wanted[filled] < at + gone) fail_damaged(name, std::max(at, wanted[filled]), clip);
    at += gone;
    clip.damaged += gone;
    if (at < wanted[filled]) {
      clip.damaged += stream.damaged() ? 1 : 0;
      continue;
    }
    if (stream.damaged()) fail_damaged(name, at, clip);
    last = stream.rgb();
    last_seconds = stream.seconds();
    if (filled == 0) make_room(clip, last, wanted.size(), name, limits);
    if (last.dim(0) != clip.frames.dim(1) || last.dim(1) != clip.frames.dim(2))
      stream.fail("frames of one size", "of several");
    while (filled < wanted.size() && wanted[filled] <= at)
      put_frame(clip, static_cast<std::int64_t>(filled++), last, last_seconds);
  }
  if (at == 0) stream.fail("frames that can be decoded");
  const std::int64_t gone = stream.lost() - lost;  // behind the last frame that was found
  clip.damaged += gone;
  if (filled < wanted.size() && (stream.damaged() || wanted[filled] < at + gone))
    fail_damaged(name, std::max(at, wanted[filled]), clip);
  if (filled == 0) stream.fail("frames that can be decoded");
  // A decoder may give fewer frames than there are packets.
  while (filled < wanted.size())
    put_frame(clip, static_cast<std::int64_t>(filled++), last, last_seconds);
}

}  // namespace

Tensor parse_picture(Bytes file, std::string_view name, const MediaLimits& limits) {
  if (sniff(file) != MediaKind::kImage) {
    throw Error(
        ErrorCode::kFormat,
        fmt::format("[{}] expected a picture, found {}", name, headscope::name(sniff(file))));
  }
  Stream stream(file, name, Stream::Kind::kPicture, limits);
  if (!stream.next()) stream.fail("a picture that can be decoded");
  if (stream.damaged()) fail_damaged(name);
  const int orientation = stream.orientation();
  Tensor picture = stream.rgb();
  return orientation > 1 && orientation <= 8 ? turned(picture, orientation) : std::move(picture);
}

Clip parse_clip(Bytes file,
                std::string_view name,
                std::int64_t count,
                const MediaLimits& limits,
                const FrameChoice& choice) {
  if (choice.every < 1 || choice.first < -1)
    throw Error(
        ErrorCode::kRange,
        fmt::format("[{}] expected a first frame from 0 and every 1 or more, found {} and {}",
                    name,
                    choice.first,
                    choice.every));
  if (count < 1 || count > (1 << 16))
    throw Error(ErrorCode::kRange,
                fmt::format("[clip] expected 1 to 65536 frames, found {}", count));
  const MediaKind kind = sniff(file);
  if (kind != MediaKind::kVideo && kind != MediaKind::kImage) {
    throw Error(ErrorCode::kFormat,
                fmt::format("[{}] expected a video, found {}", name, headscope::name(kind)));
  }
  Clip clip;
  {
    Stream whole(file, name, Stream::Kind::kVideo, limits);
    clip.total = whole.count_packets();
    clip.promised = whole.promised();
    if (clip.total == 0 && clip.promised > 0)
      whole.fail("frames", fmt::format("none of the {} that the header promises", clip.promised));
  }
  const std::int64_t total = std::max<std::int64_t>(clip.total, 1);
  if (choice.first >= total) {
    throw Error(
        ErrorCode::kRange,
        fmt::format("[{}] expected a first frame below {}, found {}", name, total, choice.first));
  }
  Stream stream(file, name, Stream::Kind::kVideo, limits);
  take_frames(stream, name, chosen(total, count, choice), limits, clip);
  return clip;
}

Audio parse_audio(Bytes file, std::string_view name, const MediaLimits& limits) {
  if (is_wave(file)) {
    try {
      return parse_wav(file, name);
    } catch (const Error& error) {  // a coding of its own: FFmpeg may know it
      if (error.code() != ErrorCode::kUnsupported) throw;
    }
  }
  const MediaKind kind = sniff(file);
  if (kind != MediaKind::kAudio && kind != MediaKind::kVideo) {
    throw Error(ErrorCode::kFormat,
                fmt::format("[{}] expected sound, found {}", name, headscope::name(kind)));
  }
  Stream stream(file, name, Stream::Kind::kSound, limits);
  Audio audio;
  while (stream.next()) stream.append_sound(audio);
  if (audio.samples.empty()) stream.fail("sound");
  for (std::size_t i = 0; i < audio.samples.size(); ++i) {
    if (!std::isfinite(audio.samples[i]))
      throw Error(ErrorCode::kInput,
                  fmt::format("[{}] expected numbers, found none in sample {}", name, i));
  }
  return audio;
}

#else

namespace {
[[noreturn]] void without(std::string_view name) {
  throw Error(ErrorCode::kUnsupported,
              fmt::format("[{}] expected a headscope built with HEADSCOPE_MEDIA to read pictures, "
                          "videos and sound, found one without",
                          name));
}
}  // namespace

Tensor parse_picture(Bytes, std::string_view name, const MediaLimits&) { without(name); }
Clip parse_clip(
    Bytes, std::string_view name, std::int64_t, const MediaLimits&, const FrameChoice&) {
  without(name);
}
Audio parse_audio(Bytes file, std::string_view name, const MediaLimits&) {
  if (!is_wave(file)) without(name);
  return parse_wav(file, name);
}

#endif

namespace {
Bytes bytes_of(const MappedFile& file) { return file.bytes(); }
}  // namespace

Tensor read_picture(const std::filesystem::path& path, const MediaLimits& limits) {
  const auto file = MappedFile::open(path);
  return parse_picture(bytes_of(*file), path.string(), limits);
}

Clip read_clip(const std::filesystem::path& path,
               std::int64_t count,
               const MediaLimits& limits,
               const FrameChoice& choice) {
  const auto file = MappedFile::open(path);
  return parse_clip(bytes_of(*file), path.string(), count, limits, choice);
}

Audio read_audio(const std::filesystem::path& path, const MediaLimits& limits) {
  const auto file = MappedFile::open(path);
  return parse_audio(bytes_of(*file), path.string(), limits);
}

}  // namespace headscope
