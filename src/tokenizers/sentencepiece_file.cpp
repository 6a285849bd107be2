#include "tokenizers/sentencepiece_file.h"

#include <fmt/format.h>

#include <bit>
#include <cmath>
#include <cstring>

#include "headscope/error.h"
#include "tokenizers/unicode.h"

namespace headscope::tokenizers {

namespace {

/// Fields of a message in Protocol Buffers' wire format, one behind the other.
class Message {
 public:
  /// `at` is where it begins in the file.
  Message(std::string_view bytes, std::size_t at, std::string_view name)
      : bytes_(bytes), start_(at), name_(name) {}

  /// Goes to the next field. False at the end.
  bool next() {
    if (at_ == bytes_.size()) return false;
    const std::uint64_t key = number("the number of a field");
    field = key >> 3;
    wire_ = static_cast<int>(key & 7);
    text_ = {};
    value_ = 0;
    if (field == 0) fail("the number of a field", "0");
    switch (wire_) {
      case 0:
        value_ = number("a number");
        break;
      case 1:
        take(8);
        break;
      case 2: {
        const std::uint64_t size = number("a length");
        if (size > bytes_.size() - at_) fail(fmt::format("{} bytes", size), ending());
        text_ = take(static_cast<std::size_t>(size));
        break;
      }
      case 5: {
        const std::string_view four = take(4);
        for (std::size_t i = 4; i-- > 0;)
          value_ = value_ << 8 | static_cast<unsigned char>(four[i]);
        break;
      }
      default:
        fail("a field of a known kind", fmt::format("kind {}", wire_));
    }
    return true;
  }
  /// The field is a message of its own.
  [[nodiscard]] Message inner() const {
    expect(2, "a message");
    return {text_, start_ + at_ - text_.size(), name_};
  }
  [[nodiscard]] std::string_view bytes() const {
    expect(2, "a text");
    return text_;
  }
  [[nodiscard]] bool flag() const {
    expect(0, "true or false");
    return value_ != 0;
  }
  /// 1..most.
  [[nodiscard]] int choice(int most) const {
    expect(0, "a number");
    if (value_ < 1 || value_ > static_cast<std::uint64_t>(most))
      fail(fmt::format("1..{} in field {}", most, field), std::to_string(value_));
    return static_cast<int>(value_);
  }
  [[nodiscard]] float real() const {
    expect(5, "a float");
    const auto out = std::bit_cast<float>(static_cast<std::uint32_t>(value_));
    if (!std::isfinite(out)) fail("a finite score", "NaN or infinity");
    return out;
  }
  [[noreturn]] void fail(std::string_view expected, std::string_view found) const {
    throw Error(
        ErrorCode::kFormat,
        fmt::format("[{}] expected {} at byte {}, found {}", name_, expected, start_ + at_, found));
  }

  std::uint64_t field = 0;

 private:
  void expect(int kind, std::string_view what) const {
    if (wire_ != kind) fail(fmt::format("{} in field {}", what, field), "another kind of field");
  }
  [[nodiscard]] std::string ending() const {
    return fmt::format("{} until the end", bytes_.size() - at_);
  }
  std::string_view take(std::size_t size) {
    if (size > bytes_.size() - at_) fail(fmt::format("{} bytes", size), ending());
    at_ += size;
    return bytes_.substr(at_ - size, size);
  }
  std::uint64_t number(std::string_view what) {
    std::uint64_t out = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      if (at_ == bytes_.size()) fail(what, "the end");
      const auto byte = static_cast<unsigned char>(bytes_[at_++]);
      out |= std::uint64_t{byte & 0x7FU} << shift;
      if (byte < 0x80) return out;
    }
    fail(what, "more than ten bytes of one");
  }

  std::string_view bytes_;
  std::size_t start_ = 0, at_ = 0;
  std::string_view name_;
  int wire_ = 0;
  std::uint64_t value_ = 0;
  std::string_view text_;
};

SentencePieceFile::Piece read_piece(Message message) {
  SentencePieceFile::Piece out;
  while (message.next()) {
    if (message.field == 1) out.text = message.bytes();
    if (message.field == 2) out.score = message.real();
    if (message.field == 3) out.type = static_cast<SentencePieceFile::Type>(message.choice(6));
  }
  for (std::size_t at = 0; at < out.text.size();) {
    if (next_utf8(out.text, at) == kNotUtf8) message.fail("a piece in UTF-8", "other bytes");
  }
  if (out.text.empty()) message.fail("a piece", "an empty one");
  return out;
}

}  // namespace

SentencePieceFile read_sentencepiece(std::string_view bytes, std::string_view name) {
  SentencePieceFile out;
  bool trained = false, ruled = false;  // what every file has, behind its pieces
  Message file(bytes, 0, name);
  while (file.next()) {
    if (file.field == 1) {
      out.pieces.push_back(read_piece(file.inner()));
    } else if (file.field == 2) {
      trained = true;
      Message training = file.inner();
      while (training.next()) {
        if (training.field == 3)
          out.algorithm = static_cast<SentencePieceFile::Algorithm>(training.choice(4));
        if (training.field == 24) out.mark_behind = training.flag();
        if (training.field == 35) out.byte_fallback = training.flag();
      }
    } else if (file.field == 3) {
      ruled = true;
      Message rules = file.inner();
      while (rules.next()) {
        if (rules.field == 2) out.table = rules.bytes();
        if (rules.field == 3) out.add_prefix = rules.flag();
        if (rules.field == 4) out.remove_spaces = rules.flag();
        if (rules.field == 5) out.escape_spaces = rules.flag();
      }
    }
  }
  if (out.pieces.empty()) file.fail("pieces", "none");
  if (!trained || !ruled) file.fail("how it was trained and what it does to texts", "the end");
  return out;
}

}  // namespace headscope::tokenizers
