#include "tokenizers/decode_stages.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "tokenizers/bytes.h"
#include "tokenizers/unicode.h"

namespace headscope::tokenizers {
namespace {

constexpr std::string_view kReplacement = "\uFFFD";

/// What English looks like when words are joined by spaces, and what it should: in this order.
constexpr std::array<std::pair<std::string_view, std::string_view>, 11> kCleanups{
    {{" .", "."},
     {" ?", "?"},
     {" !", "!"},
     {" ,", ","},
     {" ' ", "'"},
     {" n't", "n't"},
     {" 'm", "'m"},
     {" do not", " don't"},
     {" 's", "'s"},
     {" 've", "'ve"},
     {" 're", "'re"}}};

void replace_all(std::string& text, std::string_view old, std::string_view fresh) {
  std::size_t at = old.empty() ? text.npos : text.find(old);
  if (at == text.npos) return;
  std::string out;
  std::size_t done = 0;
  for (; at != text.npos; at = text.find(old, done)) {
    out.append(text, done, at - done).append(fresh);
    done = at + old.size();
  }
  text = out.append(text, done);
}

void clean_up(std::string& text) {
  for (const auto& [old, fresh] : kCleanups) replace_all(text, old, fresh);
}

/// How many of the bytes at `at` belong together: a character, or the longest stretch that could
/// have begun one. `whole` says which; `cut` that the text ends too early to know.
struct Stretch {
  std::size_t size = 1;
  bool whole = false, cut = false;
};

Stretch stretch_at(std::string_view text, std::size_t at) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[at + i]); };
  const unsigned first = byte(0);
  if (first < 0x80) return {1, true, false};
  if (first < 0xC2 || first > 0xF4) return {};
  const std::size_t size = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
  for (std::size_t i = 1; i < size; ++i) {
    if (at + i == text.size()) return {i, false, true};
    unsigned least = 0x80, most = 0xBF;
    if (i == 1 && first == 0xE0) least = 0xA0;
    if (i == 1 && first == 0xED) most = 0x9F;
    if (i == 1 && first == 0xF0) least = 0x90;
    if (i == 1 && first == 0xF4) most = 0x8F;
    if (byte(i) < least || byte(i) > most) return {i, false, false};
  }
  return {size, true, false};
}

bool is_utf8(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    if (next_utf8(text, at) == kNotUtf8) return false;
  }
  return true;
}

int hex(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/// The byte that a token like <0x0A> stands for.
std::optional<char> byte_token(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return std::nullopt;
  const int high = token[3] == '+' ? 0 : hex(token[3]);
  const int low = hex(token[4]);
  if (high < 0 || low < 0) return std::nullopt;
  return static_cast<char>(high * 16 + low);
}

std::string utf8_of(char32_t c) {
  std::string out;
  append_utf8(c, out);
  return out;
}

}  // namespace

void SpacesStage::token(std::string& text) {
  if (!first_) text.insert(text.begin(), ' ');
  first_ = false;
  send(text);
}

WordPieceStage::WordPieceStage(DecodeStage& next, std::string prefix, bool cleanup)
    : WholeTokens(next), prefix_(std::move(prefix)), cleanup_(cleanup) {}

void WordPieceStage::token(std::string& text) {
  if (!first_ && text.starts_with(prefix_)) {
    text.erase(0, prefix_.size());
  } else if (!first_) {
    text.insert(text.begin(), ' ');
  }
  first_ = false;
  if (cleanup_) clean_up(text);
  send(text);
}

void ByteLevelStage::token(std::string& text) {
  const std::size_t before = bytes_.size();
  for (std::size_t at = 0; at < text.size();) {
    const char32_t c = next_utf8(text, at);
    const int byte = c == kNotUtf8 ? -1 : byte_of(c);
    if (byte < 0) {  // one such character, and the token stands for itself
      bytes_.resize(before);
      bytes_ += text;
      break;
    }
    bytes_.push_back(static_cast<char>(byte));
  }
  decode(false);
}

void ByteLevelStage::decode(bool last) {
  std::string out;
  std::size_t at = 0;
  while (at < bytes_.size()) {
    const Stretch stretch = stretch_at(bytes_, at);
    if (stretch.cut && !last) break;
    out += stretch.whole ? std::string_view(bytes_).substr(at, stretch.size) : kReplacement;
    at += stretch.size;
  }
  bytes_.erase(0, at);
  next_.piece(out);
}

void ByteLevelStage::end_text() {
  decode(true);
  next_.end_token();
  next_.end_text();
}

void ByteFallbackStage::token(std::string& text) {
  if (const auto byte = byte_token(text)) {
    row_.push_back(*byte);
    return;
  }
  finish_row();
  send(text);
}

void ByteFallbackStage::finish_row() {
  if (row_.empty()) return;
  if (is_utf8(row_)) {
    send(row_);
  } else {
    for (std::size_t i = 0; i < row_.size(); ++i) send(kReplacement);
  }
  row_.clear();
}

void ByteFallbackStage::end_text() {
  finish_row();
  next_.end_text();
}

void FuseStage::end_text() {
  next_.end_token();
  next_.end_text();
}

SuffixStage::SuffixStage(DecodeStage& next, std::string suffix)
    : WholeTokens(next), suffix_(std::move(suffix)) {}

void SuffixStage::token(std::string& text) {
  if (has_waiting_) {
    replace_all(waiting_, suffix_, " ");
    send(waiting_);
  }
  waiting_.swap(text);
  has_waiting_ = true;
}

void SuffixStage::end_text() {
  if (has_waiting_) {
    replace_all(waiting_, suffix_, "");
    send(waiting_);
  }
  has_waiting_ = false;
  next_.end_text();
}

CtcStage::CtcStage(DecodeStage& next, std::string padding, std::string delimiter, bool cleanup)
    : WholeTokens(next),
      padding_(std::move(padding)),
      delimiter_(std::move(delimiter)),
      cleanup_(cleanup) {}

void CtcStage::token(std::string& text) {
  const bool again = !first_ && text == last_;
  first_ = false;
  if (again) return;
  last_ = text;
  replace_all(text, padding_, "");
  if (cleanup_) {
    clean_up(text);
    replace_all(text, delimiter_, " ");
  }
  if (!text.empty()) send(text);
}

MetaspaceStage::MetaspaceStage(DecodeStage& next, char32_t mark, bool drop_first)
    : WholeTokens(next), mark_(utf8_of(mark)), drop_(drop_first) {}

void MetaspaceStage::token(std::string& text) {
  replace_all(text, mark_, drop_ ? "" : " ");
  drop_ = false;
  send(text);
}

StripStage::StripStage(DecodeStage& next, char32_t content, std::size_t start, std::size_t stop)
    : next_(next), content_(utf8_of(content)), start_(start), stop_(stop), left_(start) {}

void StripStage::piece(std::string_view text) {
  while (left_ > 0 && text.starts_with(content_)) {
    text.remove_prefix(content_.size());
    --left_;
  }
  if (text.empty()) return;
  left_ = 0;
  if (stop_ == 0) {
    next_.piece(text);
    return;
  }
  tail_ += text;
  std::size_t kept = 0;
  std::size_t end = tail_.size();
  while (kept < stop_ && std::string_view(tail_).substr(0, end).ends_with(content_)) {
    end -= content_.size();
    ++kept;
  }
  next_.piece(std::string_view(tail_).substr(0, end));
  tail_.erase(0, end);
}

void StripStage::end_token() {
  tail_.clear();
  left_ = start_;
  next_.end_token();
}

ReplaceStage::ReplaceStage(DecodeStage& next, std::string old, std::string fresh)
    : next_(next), old_(std::move(old)), fresh_(std::move(fresh)) {}

void ReplaceStage::piece(std::string_view text) {
  open_ += text;
  std::size_t done = 0;
  for (std::size_t at = open_.find(old_); at != open_.npos; at = open_.find(old_, done)) {
    next_.piece(std::string_view(open_).substr(done, at - done));
    next_.piece(fresh_);
    done = at + old_.size();
  }
  const std::string_view rest = std::string_view(open_).substr(done);
  std::size_t kept = std::min(rest.size(), old_.size() - 1);
  while (!rest.ends_with(std::string_view(old_).substr(0, kept))) --kept;
  next_.piece(rest.substr(0, rest.size() - kept));
  open_.erase(0, open_.size() - kept);
}

void ReplaceStage::end_token() {
  next_.piece(open_);
  open_.clear();
  next_.end_token();
}

ReplaceRegexStage::ReplaceRegexStage(DecodeStage& next, Regex old, std::string fresh)
    : WholeTokens(next), old_(std::move(old)), fresh_(std::move(fresh)) {}

void ReplaceRegexStage::token(std::string& text) {
  if (text.empty()) return send(text);
  const std::u32string chars = to_utf32(text);
  std::string out;
  std::size_t done = 0;
  const auto copy = [&](std::size_t end) {
    for (; done < end; ++done) append_utf8(chars[done], out);
  };
  Regex::Matches matches = old_.matches(chars);
  while (const auto match = matches.next()) {
    copy(match->begin);
    out += fresh_;
    done = match->end;
  }
  copy(chars.size());
  send(out);
}

}  // namespace headscope::tokenizers
