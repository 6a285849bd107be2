#include "tokenizers/bytes.h"

#include <algorithm>
#include <cstddef>
#include <utility>

namespace headscope::tokenizers {
namespace {

constexpr bool printable(unsigned byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

constexpr std::array<char32_t, 256> make_characters() {
  std::array<char32_t, 256> out{};
  char32_t next = 0x100;
  for (unsigned byte = 0; byte < out.size(); ++byte) out[byte] = printable(byte) ? byte : next++;
  return out;
}
constexpr std::array<char32_t, 256> kCharacters = make_characters();

constexpr std::array<std::int16_t, 0x144> make_bytes() {
  std::array<std::int16_t, 0x144> out{};
  for (std::int16_t& byte : out) byte = -1;
  for (std::size_t i = 0; i < kCharacters.size(); ++i) {
    out[kCharacters[i]] = static_cast<std::int16_t>(i);
  }
  return out;
}
constexpr std::array<std::int16_t, 0x144> kBytes = make_bytes();

/// Writes the bytes of one character and returns their number.
std::size_t write(char32_t c, char32_t* out) {
  const auto put = [out](std::size_t i, char32_t byte) { out[i] = kCharacters[byte]; };
  if (c < 0x80) {
    put(0, c);
    return 1;
  }
  if (c < 0x800) {
    put(0, 0xC0 | (c >> 6));
    put(1, 0x80 | (c & 0x3F));
    return 2;
  }
  if (c < 0x10000) {
    put(0, 0xE0 | (c >> 12));
    put(1, 0x80 | ((c >> 6) & 0x3F));
    put(2, 0x80 | (c & 0x3F));
    return 3;
  }
  put(0, 0xF0 | (c >> 18));
  put(1, 0x80 | ((c >> 12) & 0x3F));
  put(2, 0x80 | ((c >> 6) & 0x3F));
  put(3, 0x80 | (c & 0x3F));
  return 4;
}

}  // namespace

const std::array<char32_t, 256>& byte_characters() { return kCharacters; }

int byte_of(char32_t c) { return c < kBytes.size() ? kBytes[c] : -1; }

void write_as_bytes(AlignedText& text, std::vector<Span>& spans) {
  const bool ascii =
      std::all_of(text.chars.begin(), text.chars.end(), [](char32_t c) { return c < 0x80; });
  if (ascii) {
    for (char32_t& c : text.chars) c = kCharacters[c];
    return;
  }
  std::size_t most = 0;
  for (const char32_t c : text.chars) most += c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
  AlignedText out;
  out.chars.resize(most);
  out.from.resize(most);
  std::size_t at = 0;
  for (Span& span : spans) {
    const std::size_t begin = at;
    for (std::size_t i = span.begin; i < span.end; ++i) {
      const std::size_t bytes = write(text.chars[i], out.chars.data() + at);
      for (std::size_t k = 0; k < bytes; ++k) out.from[at + k] = text.from[i];
      at += bytes;
    }
    span = {begin, at};
  }
  out.chars.resize(at);
  out.from.resize(at);
  text = std::move(out);
}

}  // namespace headscope::tokenizers
