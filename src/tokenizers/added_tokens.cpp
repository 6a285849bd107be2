#include "tokenizers/added_tokens.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "headscope/error.h"
#include "tokenizers/unicode.h"

namespace headscope::tokenizers {
namespace {

bool stands_alone(const AlignedText& text, Span match) {
  const bool left = match.begin == 0 || !is_word(text.chars[match.begin - 1]);
  const bool right = match.end == text.size() || !is_word(text.chars[match.end]);
  return left && right;
}

std::u32string pattern_of(const std::string& content, const Normalizer* normalizer) {
  if (normalizer == nullptr) return to_utf32(content);
  AlignedText text = decode(content);
  normalizer->apply(text);
  return text.chars;
}

}  // namespace

AddedTokens::Token AddedTokens::read(const json::Value& entry, std::string_view where) {
  Token token;
  token.content = json::require<std::string>(entry, "content", where);
  token.special = json::get_or<bool>(entry, "special", false, where);
  token.normalized = json::get_or<bool>(entry, "normalized", !token.special, where);
  token.single_word = json::get_or<bool>(entry, "single_word", false, where);
  token.lstrip = json::get_or<bool>(entry, "lstrip", false, where);
  token.rstrip = json::get_or<bool>(entry, "rstrip", false, where);
  return token;
}

AddedTokens::AddedTokens(const json::Value& list,
                         const Vocabulary& vocabulary,
                         const Normalizer* normalizer,
                         std::string_view where) {
  if (!list.is_array()) {
    throw Error(ErrorCode::kFormat,
                fmt::format("[{}] expected \"added_tokens\" to be an array, found {}",
                            where,
                            json::describe(list)));
  }
  std::vector<std::int32_t> order;
  for (const json::Value& entry : list) {
    Token token = read(entry, where);
    if (token.content.empty()) continue;
    std::int32_t id = id_of(token.content);
    if (id < 0) id = vocabulary.id_of(token.content);
    if (id < 0) id = static_cast<std::int32_t>(vocabulary.size() + beyond_++);
    ids_[token.content] = id;
    const auto known = tokens_.find(id);
    if (known == tokens_.end()) order.push_back(id);
    if (known != tokens_.end()) token.special = token.special || known->second.special;
    if (token.special) specials_.insert(token.content);
    if (token.special) special_ids_.set(static_cast<std::uint32_t>(id), true);
    // GGUF files list some special tokens twice; the earlier id is as special as the later.
    const auto own = json::get_or<std::int64_t>(entry, "id", id, where);
    if (token.special && own != id && own >= 0 && own < std::numeric_limits<std::int32_t>::max() &&
        vocabulary.token_of(static_cast<std::int32_t>(own)) == token.content)
      special_ids_.set(static_cast<std::uint32_t>(own), true);
    tokens_[id] = std::move(token);
  }
  std::vector<std::pair<std::u32string, std::int32_t>> raw, normalized;
  for (const std::int32_t id : order) {
    Token& token = tokens_.at(id);
    auto& patterns = token.normalized ? normalized : raw;
    patterns.emplace_back(pattern_of(token.content, token.normalized ? normalizer : nullptr), id);
    token.form = to_utf8(patterns.back().first);
    if (patterns.back().first.size() > kMaxTokenLength) {
      throw Error(
          ErrorCode::kUnsupported,
          fmt::format("[{}] expected added tokens of at most {} characters, found one of {}",
                      where,
                      kMaxTokenLength,
                      patterns.back().first.size()));
    }
  }
  raw_ = TokenTrie(std::move(raw));
  normalized_ = TokenTrie(std::move(normalized));
}

std::vector<Segment> AddedTokens::split(const AlignedText& text, const TokenTrie& trie) const {
  std::vector<Segment> out;
  if (text.size() == 0) return out;
  std::size_t done = 0;  // where the last segment ends
  const std::u32string_view all = text.chars;
  for (std::size_t at = 0; !trie.empty() && at < all.size();) {
    while (at < all.size() && !trie.begins(all[at])) ++at;
    const auto match = trie.longest(TokenTrie::root(), all.substr(at));
    if (!match) {
      ++at;
      continue;
    }
    Span span{at, at + match->length};
    at = span.end;
    const Token& token = tokens_.at(match->id);
    if (token.single_word && !stands_alone(text, span)) continue;
    while (token.lstrip && span.begin > done && is_white_space(all[span.begin - 1])) --span.begin;
    while (token.rstrip && span.end < all.size() && is_white_space(all[span.end])) ++span.end;
    if (done < span.begin) out.push_back({{done, span.begin}, -1});
    out.push_back({span, match->id});
    done = span.end;
  }
  if (done < all.size()) out.push_back({{done, all.size()}, -1});
  return out;
}

std::vector<Segment> AddedTokens::split_raw(const AlignedText& text) const {
  return split(text, raw_);
}

std::vector<Segment> AddedTokens::split_normalized(const AlignedText& text) const {
  return split(text, normalized_);
}

std::int32_t AddedTokens::id_of(std::string_view token) const {
  const auto found = ids_.find(std::string(token));
  return found == ids_.end() ? -1 : found->second;
}

const std::string* AddedTokens::token_of(std::int32_t id) const {
  const auto found = tokens_.find(id);
  return found == tokens_.end() ? nullptr : &found->second.content;
}

const std::string* AddedTokens::form_of(std::int32_t id) const {
  const auto found = tokens_.find(id);
  return found == tokens_.end() ? nullptr : &found->second.form;
}

}  // namespace headscope::tokenizers
