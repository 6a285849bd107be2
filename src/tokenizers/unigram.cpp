#include "tokenizers/unigram.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <string>
#include <utility>

#include "headscope/error.h"
#include "tokenizers/token_trie.h"
#include "tokenizers/unicode.h"

namespace headscope::tokenizers {
namespace {

constexpr double kUnknownPenalty = 10;
constexpr std::uint32_t kNowhere = std::numeric_limits<std::uint32_t>::max();

/// The best way to write the text up to a character: its last token.
struct Best {
  double score = 0;
  std::uint32_t begin = kNowhere;
  std::int32_t id = 0;
};

class Unigram : public Model {
 public:
  Unigram(const ModelParts& parts, std::string_view where)
      : vocabulary_(require_vocab(parts, true, where), where) {
    double least = std::numeric_limits<double>::infinity();
    for (const TokenEntry& entry : *parts.vocab) {
      scores_.push_back(entry.score);
      least = std::min(least, entry.score);
    }
    unknown_score_ = parts.least.value_or(least) - kUnknownPenalty;
    std::vector<std::pair<std::u32string, std::int32_t>> tokens;
    tokens.reserve(vocabulary_.size());
    vocabulary_.each([&tokens](const Vocabulary::Token& token) {
      tokens.emplace_back(to_utf32(token.text), token.id);
    });
    trie_ = TokenTrie::of_vocabulary(std::move(tokens), where);
    read_unknown(parts.options, where);
    byte_fallback_ = json::get_or<bool>(parts.options, "byte_fallback", false, where);
    single_ = parts.single;
    if (single_) unknown_score_ = rounded(unknown_score_);
    for (std::size_t i = 0; i < bytes_.size(); ++i) {
      bytes_[i] = vocabulary_.id_of(fmt::format("<0x{:02X}>", i));
    }
  }

  void tokenize(std::u32string_view word, std::vector<Piece>& out) const override {
    thread_local std::vector<Best> best;
    thread_local std::vector<Piece> backwards;
    best.assign(word.size() + 1, Best{});
    for (std::size_t at = 0; at < word.size(); ++at) step(word, at, best);
    backwards.clear();
    for (auto end = static_cast<std::uint32_t>(word.size()); end > 0; end = best[end].begin) {
      const Best& last = best[end];
      const bool joins = last.id == unknown_id_ && !backwards.empty() &&
                         backwards.back().id == unknown_id_ && backwards.back().begin == end;
      if (joins) {
        backwards.back().begin = last.begin;
      } else {
        backwards.push_back({last.id, last.begin, end});
      }
    }
    for (std::size_t i = backwards.size(); i-- > 0;) put(word, backwards[i], out);
    constexpr std::size_t kKept = std::size_t{1} << 16;
    if (best.capacity() > kKept) std::vector<Best>().swap(best);
  }

  [[nodiscard]] const Vocabulary& vocabulary() const override { return vocabulary_; }
  [[nodiscard]] std::int32_t unknown_id() const override { return unknown_id_; }

 private:
  void read_unknown(const json::Value& options, std::string_view where) {
    const json::Value* unknown = json::find(options, "unk_id", where);
    if (unknown == nullptr) return;
    const auto id = json::as<std::uint64_t>(*unknown, "unk_id", where);
    if (id >= scores_.size()) {
      throw Error(ErrorCode::kFormat,
                  fmt::format("[{}] expected \"unk_id\" to be the id of one of {} tokens, found {}",
                              where,
                              scores_.size(),
                              id));
    }
    unknown_id_ = static_cast<std::int32_t>(id);
  }

  /// Extends what ends before `at` by every token that begins there.
  void step(std::u32string_view word, std::size_t at, std::vector<Best>& best) const {
    const double before = best[at].score;
    bool single = false;
    const auto offer = [&](std::size_t length, std::int32_t id, double score) {
      Best& end = best[at + length];
      if (end.begin != kNowhere && !(score > end.score)) return;
      end = {single_ ? rounded(score) : score, static_cast<std::uint32_t>(at), id};
    };
    trie_.each_prefix(word.substr(at), [&](std::size_t length, std::int32_t id) {
      single = single || length == 1;
      offer(length, id, scores_[static_cast<std::size_t>(id)] + before);
    });
    if (single) return;
    if (unknown_id_ < 0) throw no_unknown(word[at]);
    const double unknown = unknown_score_ + before;
    offer(1, unknown_id_, single_ ? rounded(unknown) : unknown);
  }

  static double rounded(double score) { return static_cast<double>(static_cast<float>(score)); }

  static Error no_unknown(char32_t c) {
    return {ErrorCode::kInput,
            fmt::format("[tokenizer] expected text of the vocabulary, which has no unknown token, "
                        "found U+{:04X}",
                        static_cast<std::uint32_t>(c))};
  }

  /// What is unknown may still be a token when it is taken together, or else its bytes.
  void put(std::u32string_view word, const Piece& piece, std::vector<Piece>& out) const {
    if (piece.id != unknown_id_) {
      out.push_back(piece);
      return;
    }
    const std::string text = to_utf8(word.substr(piece.begin, piece.end - piece.begin));
    const std::int32_t whole = vocabulary_.id_of(text);
    const auto byte = [this](char c) { return bytes_[static_cast<unsigned char>(c)]; };
    if (whole >= 0 || !byte_fallback_ ||
        std::any_of(text.begin(), text.end(), [&](char c) { return byte(c) < 0; })) {
      out.push_back({whole >= 0 ? whole : unknown_id_, piece.begin, piece.end});
      return;
    }
    for (const char c : text) out.push_back({byte(c), piece.begin, piece.end});
  }

  Vocabulary vocabulary_;
  TokenTrie trie_;
  std::vector<double> scores_;  ///< by id
  std::array<std::int32_t, 256> bytes_{};
  double unknown_score_ = 0;
  std::int32_t unknown_id_ = -1;
  bool byte_fallback_ = false;
  bool single_ = false;
};

}  // namespace

std::unique_ptr<const Model> make_unigram(const ModelParts& parts, std::string_view where) {
  return std::make_unique<const Unigram>(parts, where);
}

}  // namespace headscope::tokenizers
