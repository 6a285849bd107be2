// What a stream of bytes is, by its first bytes; and what media.json says.
#include <fmt/format.h>

#include <array>
#include <fstream>

#include "formats/files.h"
#include "formats/json.h"
#include "headscope/media.h"
#include "headscope/safetensors.h"

namespace headscope {

namespace {

struct Mark {
  std::size_t at;
  std::string_view bytes;
  MediaKind kind;
};

constexpr std::size_t kLooked = 4096;

using namespace std::string_view_literals;
constexpr Mark kMarks[] = {{0, "\x89PNG\r\n\x1A\n"sv, MediaKind::kImage},
                           {0, "\xFF\xD8\xFF"sv, MediaKind::kImage},
                           {0, "GIF87a"sv, MediaKind::kImage},
                           {0, "GIF89a"sv, MediaKind::kImage},
                           {8, "WEBP"sv, MediaKind::kImage},
                           {0, "II*\0"sv, MediaKind::kImage},
                           {0, "MM\0*"sv, MediaKind::kImage},
                           {0, "8BPS\0\1"sv, MediaKind::kImage},
                           {8, "AVI "sv, MediaKind::kVideo},
                           {8, "WAVE"sv, MediaKind::kAudio},
                           {8, "RMID"sv, MediaKind::kMidi},
                           {0, "MThd"sv, MediaKind::kMidi},
                           {4, "ftypM4A"sv, MediaKind::kAudio},
                           {4, "ftypqt"sv, MediaKind::kVideo},
                           {4, "ftyp"sv, MediaKind::kVideo},
                           {0, "\x1A\x45\xDF\xA3"sv, MediaKind::kVideo},
                           {0, "FLV\1"sv, MediaKind::kVideo},
                           {0, "\0\0\1\xBA"sv, MediaKind::kVideo},
                           {0, "\0\0\1\xB3"sv, MediaKind::kVideo},
                           {0, "\x30\x26\xB2\x75"sv, MediaKind::kVideo},
                           {0, "YUV4MPEG2 "sv, MediaKind::kVideo},
                           {28, "\x01vorbis"sv, MediaKind::kAudio},
                           {28, "OpusHead"sv, MediaKind::kAudio},
                           {28, "Speex"sv, MediaKind::kAudio},
                           {28,
                            "\x7F"
                            "FLAC"sv,
                            MediaKind::kAudio},
                           {0, "OggS"sv, MediaKind::kVideo},
                           {0, "fLaC"sv, MediaKind::kAudio},
                           {0, "ID3"sv, MediaKind::kAudio},
                           {0, "#!AMR"sv, MediaKind::kAudio}};

// Portable maps of pixels: "P6" and a blank; "BM" and a header of a size that there is.
bool other_image(std::string_view b) {
  const bool map = b.size() > 3 && b[0] == 'P' && b[1] >= '1' && b[1] <= '7' &&
                   (b[2] == '\n' || b[2] == ' ' || b[2] == '\r' || b[2] == '\t') &&
                   ((b[3] >= '0' && b[3] <= '9') || b[3] == '#' || b[3] == 'W');
  const bool bitmap = b.size() > 18 && b[0] == 'B' && b[1] == 'M' && b[15] == 0 && b[16] == 0 &&
                      b[17] == 0 && b[14] >= 12;
  return map || bitmap;
}

// Layer III of MPEG 1 or 2, twice in a row would be better proof than eleven ones: text never begins so.
bool mpeg_audio(std::string_view b) {
  const auto at = [&](std::size_t i) { return static_cast<unsigned char>(b[i]); };
  return b.size() > 3 && at(0) == 0xFF && (at(1) & 0xE6U) == 0xE2U && (at(2) & 0xF0U) != 0xF0U;
}

// Where UTF-8 without control characters ends; npos: nowhere. A letter may be cut in two at the end.
std::size_t first_wrong(std::string_view b) {
  for (std::size_t i = 0; i < b.size();) {
    const auto c = static_cast<unsigned char>(b[i]);
    if (c < 0x20) {
      if (c != '\t' && c != '\n' && c != '\r' && c != '\f' && c != '\x1B') return i;
      ++i;
      continue;
    }
    const std::size_t length = c < 0x80 ? 1 : c >= 0xF0 ? 4 : c >= 0xE0 ? 3 : 2;
    if ((c >= 0x80 && c < 0xC2) || c > 0xF4) return i;
    for (std::size_t k = 1; k < length; ++k) {
      if (i + k >= b.size())  // cut by us, or by the file
        return b.size() >= kLooked ? std::string_view::npos : i;
      if ((static_cast<unsigned char>(b[i + k]) & 0xC0U) != 0x80U) return i;
    }
    i += length;
  }
  return std::string_view::npos;
}

std::string_view looked_at(std::span<const std::byte> beginning) {
  return {reinterpret_cast<const char*>(beginning.data()), std::min(beginning.size(), kLooked)};
}

std::int32_t id_in(const json::Value& v,
                   const char* key,
                   std::int32_t usual,
                   std::string_view name,
                   std::int64_t least = 0,
                   std::int64_t most = (1 << 30) - 1) {
  const auto n = json::get_or<std::int64_t>(v, key, usual, name);
  if (n >= least && n <= most) return static_cast<std::int32_t>(n);
  throw Error(ErrorCode::kFormat,
              fmt::format("[{}] expected {} from {} to {}, found {}", name, key, least, most, n));
}

NoteCode notes_code(const json::Value& v, std::string_view name) {
  NoteCode c;
  c.voices = json::get_or<std::vector<std::string>>(v, "voices", c.voices, name);
  c.steps_per_beat = json::get_or<int>(v, "steps_per_beat", c.steps_per_beat, name);
  c.lowest = json::get_or<int>(v, "lowest", c.lowest, name);
  c.highest = json::get_or<int>(v, "highest", c.highest, name);
  c.start = id_in(v, "start", c.start, name);
  c.end = id_in(v, "end", c.end, name);
  c.rest = id_in(v, "rest", c.rest, name);
  c.first = id_in(v, "first", c.first, name);
  const bool fits = !c.voices.empty() && c.voices.size() <= 64 && c.steps_per_beat >= 1 &&
                    c.steps_per_beat <= 96 && c.lowest >= 0 && c.lowest <= c.highest &&
                    c.highest <= 127;
  if (fits) return c;
  throw Error(ErrorCode::kFormat,
              fmt::format("[{}] expected 1 to 64 voices, 1 to 96 steps a beat and pitches within "
                          "0..127, found {}, {}, {}..{}",
                          name,
                          c.voices.size(),
                          c.steps_per_beat,
                          c.lowest,
                          c.highest));
}

NumberCode numbers_code(const json::Value& v, std::string_view name) {
  NumberCode c;
  c.bins = id_in(v, "bins", c.bins, name, 2, 1 << 24);
  c.low = json::get_or<double>(v, "low", c.low, name);
  c.high = json::get_or<double>(v, "high", c.high, name);
  c.centred = json::get_or<bool>(v, "centred", c.centred, name);
  c.start = id_in(v, "start", c.start, name);
  c.end = id_in(v, "end", c.end, name);
  c.missing = id_in(v, "missing", c.missing, name);
  c.first = id_in(v, "first", c.first, name);
  if (c.low < c.high) return c;
  throw Error(
      ErrorCode::kFormat,
      fmt::format("[{}] expected low to be less than high, found {} and {}", name, c.low, c.high));
}

}  // namespace

std::string_view name(MediaKind kind) {
  static constexpr std::array<std::string_view, 6> kNames = {
      "text", "a picture", "a video", "sound", "music (MIDI)", "bytes"};
  return kNames.at(static_cast<std::size_t>(kind));
}

MediaKind sniff(std::span<const std::byte> beginning) {
  const std::string_view b = looked_at(beginning);
  for (const Mark& mark : kMarks) {
    const bool riff = mark.at != 8 || b.starts_with("RIFF");
    if (riff && b.size() >= mark.at + mark.bytes.size() &&
        b.substr(mark.at, mark.bytes.size()) == mark.bytes) {
      return mark.kind;
    }
  }
  if (other_image(b)) return MediaKind::kImage;
  if (mpeg_audio(b)) return MediaKind::kAudio;
  return first_wrong(b) == b.npos ? MediaKind::kText : MediaKind::kBytes;
}

std::int64_t no_text_at(std::span<const std::byte> beginning) {
  const std::size_t at = first_wrong(looked_at(beginning));
  return at == std::string_view::npos ? -1 : static_cast<std::int64_t>(at);
}

MediaKind sniff(const std::filesystem::path& path) {
  (void)files::open_to_read(path);
  std::ifstream file(path, std::ios::binary);
  std::array<char, 4096> block{};
  file.read(block.data(), block.size());
  return sniff(std::as_bytes(std::span(block)).first(static_cast<std::size_t>(file.gcount())));
}

SequenceCode SequenceCode::parse(std::string_view text, std::string_view name) {
  const json::Value v = json::parse(text, name);
  const auto kind = json::require<std::string>(v, "kind", name);
  SequenceCode out;
  if (kind == "notes") {
    out.notes = notes_code(v, name);
  } else if (kind == "numbers") {
    out.numbers = numbers_code(v, name);
  } else if (kind == "bytes") {
    out.bytes = id_in(v, "first", 0, name);
  } else {
    throw Error(
        ErrorCode::kUnsupported,
        fmt::format(
            "[{}] expected kind notes, numbers or bytes, found {}", name, json::quote(kind)));
  }
  return out;
}

SequenceCode SequenceCode::read(const std::filesystem::path& media_json) {
  return parse(read_file(media_json, std::size_t{1} << 20), media_json.string());
}

std::vector<Label> byte_labels(std::span<const std::byte> bytes) {
  std::vector<Label> out;
  out.reserve(bytes.size());
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const auto x = std::to_integer<unsigned>(bytes[i]);
    Label label;
    label.text = fmt::format("byte {}: {:02X}", i, x);
    if (x > 0x20 && x < 0x7F) label.text += fmt::format(" {}", static_cast<char>(x));
    label.word = static_cast<std::int64_t>(i);
    label.row = 0;
    label.column = static_cast<int>(i);
    out.push_back(std::move(label));
  }
  return out;
}

}  // namespace headscope
