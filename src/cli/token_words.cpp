#include "cli/token_words.h"

#include <fmt/format.h>

#include <optional>
#include <span>

#include "cli/screen.h"
#include "tokenizers/bytes.h"
#include "tokenizers/unicode.h"

namespace headscope::cli {

namespace {

constexpr std::string_view kInstead =
    "\uFFFD";  // what decoding says of bytes that are no character
constexpr std::string_view kWordBegins = "\u2581";

// What a token of a byte-level vocabulary stands for; nothing when it is of another one.
std::optional<std::string> bytes_of(std::string_view token) {
  std::string out;
  for (std::size_t at = 0; at < token.size();) {
    const char32_t c = tokenizers::next_utf8(token, at);
    const int byte = c == tokenizers::kNotUtf8 ? -1 : tokenizers::byte_of(c);
    if (byte < 0) return std::nullopt;
    out += static_cast<char>(byte);
  }
  return out;
}

}  // namespace

std::string token_bytes(const Tokenizer& tokenizer, std::int32_t id) {
  std::string token = tokenizer.token_of(id);
  if (token.size() == 6 && token.starts_with("<0x") && token.ends_with('>')) return token;
  if (token.find(kWordBegins) != token.npos) {
    for (std::size_t at = 0; (at = token.find(kWordBegins, at)) != token.npos; ++at)
      token.replace(at, kWordBegins.size(), " ");
    return token;
  }
  std::string text = tokenizer.decode(std::span(&id, 1));
  if (text.find(kInstead) == text.npos) return text;
  return bytes_of(token).value_or(text);
}

std::string visible(std::string_view bytes) {
  std::string out;
  for (std::size_t at = 0; at < bytes.size();) {
    const std::size_t begin = at;
    const char32_t c = tokenizers::next_utf8(bytes, at);
    if (c == tokenizers::kNotUtf8) {
      at = begin + 1;
      out += fmt::format("<0x{:02X}>",
                         static_cast<unsigned>(static_cast<unsigned char>(bytes[begin])));
    } else if (c == U' ') {
      out += "␣";
    } else if (const std::string_view own = bytes.substr(begin, at - begin); !clean(own).empty()) {
      out += own;
    } else {
      out += fmt::format(fmt::runtime(c < 0x80 ? "<0x{:02X}>" : "<U+{:04X}>"),
                         static_cast<unsigned>(c));
    }
  }
  return out;
}

}  // namespace headscope::cli
