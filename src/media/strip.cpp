#include "media/strip.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

#include "media/endian.h"

namespace headscope::media {

namespace {

// Bytes `at` to `at + count` go to `kept`, which is not behind them.
void keep(Octets b, std::size_t& kept, std::size_t at, std::size_t count) {
  std::memmove(b.data() + kept, b.data() + at, count);
  kept += count;
}

std::string_view text_of(std::span<const std::uint8_t> b) {
  return {reinterpret_cast<const char*>(b.data()), b.size()};
}

// Which way up the Exif segment says the picture is; 0: it does not say.
int orientation_in(Octets segment) {
  constexpr std::string_view kExif("Exif\0\0", 6);
  constexpr std::string_view kLittle("II*\0", 4);
  constexpr std::string_view kBig("MM\0*", 4);
  if (segment.size() < kExif.size() + 8 || !text_of(segment).starts_with(kExif)) return 0;
  const Octets exif = segment.subspan(kExif.size());
  const bool lowest_first = text_of(exif).starts_with(kLittle);
  if (!lowest_first && !text_of(exif).starts_with(kBig)) return 0;
  const auto number = [&](std::size_t at, std::size_t count) -> std::size_t {
    const auto bytes = std::as_bytes(exif);
    return lowest_first ? little(bytes, at, count) : big(bytes, at, count);
  };
  std::size_t at = number(4, 4);
  if (at > exif.size() - 2) return 0;
  std::size_t left = number(at, 2);
  for (at += 2; left > 0 && exif.size() - at >= 12; --left, at += 12) {
    if (number(at, 2) != 0x112) continue;
    const bool longer = number(at + 2, 2) == 4;
    return static_cast<int>(number(at + 8, longer ? 4 : 2));
  }
  return 0;
}

constexpr std::array<std::uint8_t, kPngEndBytes> kPngEnd = {
    0, 0, 0, 0, 'I', 'E', 'N', 'D', 0xAE, 0x42, 0x60, 0x82};

}  // namespace

std::size_t strip_jpeg(Octets b, int& orientation) {
  if (b.size() < 4 || b[0] != 0xFF || b[1] != 0xD8) return b.size();
  std::size_t kept = 2;
  std::size_t at = 2;
  while (b.size() - at >= 4 && b[at] == 0xFF) {
    const unsigned marker = b[at + 1];
    if (marker == 0xFF) {  // a filler
      ++at;
      continue;
    }
    const std::size_t length = 2 + big(std::as_bytes(b), at + 2, 2);
    if (marker < 0xC0 || (marker >= 0xD0 && marker <= 0xDA) || length < 4 || length > b.size() - at)
      break;
    const Octets body = b.subspan(at + 4, length - 4);
    const std::string_view text = text_of(body);
    const bool coding =
        text.size() >= 12 &&
        (text.starts_with("AVI1") || text.starts_with("LJIF") || text.starts_with("Adobe"));
    if (marker < 0xE0 || marker > 0xEF || coding)
      keep(b, kept, at, length);
    else if (orientation == 0)
      orientation = orientation_in(body);
    at += length;
  }
  keep(b, kept, at, b.size() - at);
  return kept;
}

// Names of chunks that a picture cannot do without begin with a capital letter.
std::size_t strip_png(Octets b, std::size_t size) {
  constexpr std::size_t kSignature = 8;
  if (size < kSignature) return size;
  std::size_t kept = kSignature;
  for (std::size_t at = kSignature; size - at >= 12;) {
    const std::size_t length = 12 + big(std::as_bytes(b), at, 4);
    const bool needed = (b[at + 4] & 0x20U) == 0;
    const bool cut = length > size - at;
    if (text_of(b.subspan(at + 4, 4)) == "IEND" || (cut && !needed)) break;
    if (needed) keep(b, kept, at, std::min(length, size - at));
    if (cut) return kept;
    at += length;
  }
  std::copy(kPngEnd.begin(), kPngEnd.end(), b.begin() + static_cast<std::ptrdiff_t>(kept));
  return kept + kPngEnd.size();
}

void right_bitmap_size(Octets part, std::size_t at, std::size_t size) {
  for (std::size_t i = 2; i < 6; ++i) {
    if (i >= at && i - at < part.size())
      part[i - at] = static_cast<std::uint8_t>(size >> (8 * (i - 2)));
  }
}

}  // namespace headscope::media
