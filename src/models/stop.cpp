#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "headscope/error.h"
#include "headscope/sampler.h"
#include "tokenizers/unicode.h"

namespace headscope {

namespace {

// Bytes at the end that begin a character and do not yet end it.
std::size_t unfinished(std::string_view text) {
  for (std::size_t n = 1; n <= std::min<std::size_t>(3, text.size()); ++n) {
    const auto byte = static_cast<unsigned char>(text[text.size() - n]);
    if (byte < 0x80) return 0;
    if (byte < 0xC0) continue;
    const std::size_t whole = byte >= 0xF0 ? 4 : (byte >= 0xE0 ? 3 : 2);
    return n < whole ? n : 0;
  }
  return 0;
}

bool is_utf8(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    if (tokenizers::next_utf8(text, at) == tokenizers::kNotUtf8) return false;
  }
  return true;
}

std::vector<std::size_t> borders(std::string_view text) {
  std::vector<std::size_t> out(text.size(), 0);
  for (std::size_t i = 1, k = 0; i < text.size(); ++i) {
    while (k > 0 && text[i] != text[k]) k = out[k - 1];
    if (text[i] == text[k]) ++k;
    out[i] = k;
  }
  return out;
}

}  // namespace

StopText::StopText(std::vector<std::string> stops) {
  for (std::string& text : stops) {
    if (text.empty() || !is_utf8(text)) {
      throw Error(ErrorCode::kUsage,
                  fmt::format("[stop] expected a stop string of UTF-8 letters, found {}",
                              text.empty() ? "an empty one" : "other bytes"));
    }
    std::vector<std::size_t> back = borders(text);
    stops_.push_back({std::move(text), std::move(back), 0});
  }
}

std::string StopText::push(std::string_view piece) {
  if (stopped()) return {};
  for (const char byte : piece) {
    held_ += byte;
    const Stop* found = nullptr;
    for (Stop& stop : stops_) {
      std::size_t& k = stop.matched;
      while (k > 0 && stop.text[k] != byte) k = stop.back[k - 1];
      if (stop.text[k] == byte) ++k;
      const bool whole = k == stop.text.size();
      if (whole && (found == nullptr || stop.text.size() > found->text.size())) found = &stop;
    }
    if (found == nullptr) continue;
    found_ = &found->text;
    held_.resize(held_.size() - found->text.size());
    return std::exchange(held_, {});
  }
  std::size_t keep = unfinished(held_);
  for (const Stop& stop : stops_) keep = std::max(keep, stop.matched);
  std::string sure = held_.substr(0, held_.size() - keep);
  held_.erase(0, sure.size());
  return sure;
}

std::string StopText::finish() { return stopped() ? std::string() : std::exchange(held_, {}); }

}  // namespace headscope
